#include "matrix/commands_used.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "matrix/content.h"

namespace orch::matrix {
namespace {

std::string list(const std::set<std::string>& names) {
  return join(std::vector<std::string>(names.begin(), names.end()), " and ");
}

std::string shown_image(const std::optional<std::string>& image) { return image ? quote(*image) : "no image"; }

}  // namespace

void CommandsUsed::add(const Stage& stage, const Block& block) {
  Use& use = uses_[stage.place_of("command")];
  if (stage.kind == CellKind::kCommand) {
    use.runs = true;
    return;
  }
  const Axis* engines = block.find("engine");
  if (!engines) return;
  for (const SettingValue& value : engines->values) {
    const std::string& name = std::get<std::string>(value);
    const bool runs = name == name_of(Engine::kCommand);
    for (Use* each : {&use, block.engine_chosen ? &by_default_[stage.name] : nullptr}) {
      if (!each) continue;
      each->runs = each->runs || runs;
      if (!runs) each->others.insert(name);
    }
  }
}

void CommandsUsed::add_harness(const Stage& stage, const Block& block) {
  Use& use = harness_[stage.place_of("lm_eval")];
  const Axis* engines = block.find("engine");
  if (!engines) return;
  for (const SettingValue& value : engines->values) {
    const std::string& name = std::get<std::string>(value);
    use.runs = use.runs || name == name_of(Engine::kLmEval);
    if (name != name_of(Engine::kLmEval)) use.others.insert(name);
  }
}

std::optional<std::string> CommandsUsed::mixed(const Stage& stage) const {
  const auto found = by_default_.find(stage.name);
  if (found == by_default_.end() || !found->second.runs || found->second.others.empty()) return std::nullopt;
  return "no engine is said, so each model runs on its first that can: the command runs some, and " +
         list(found->second.others) + " the rest (`engine: command` runs the command for all)";
}

void CommandsUsed::report(Diagnostics& diagnostics) const {
  for (const auto& [place, use] : uses_)
    if (!use.runs && !use.others.empty())
      diagnostics.error(place, "this command would never run: the cells beside it run on the engine " +
                                   list(use.others) +
                                   "; say `engine: command` in their settings, or leave the command out");
  for (const auto& [place, use] : harness_)
    if (!use.runs && !use.others.empty())
      diagnostics.error(place, "'lm_eval' would be of no use: the cells beside it run on the engine " +
                                   list(use.others) + "; say `engine: lm-eval` in their settings, or leave it out");
}

Image settle_image(const Submit& of_matrix, const ExpandOptions& options) {
  Submit of_cluster;
  of_cluster.container = options.container;
  if (options.places.empty()) return {of_matrix.over(of_cluster).container, {}};
  struct Found {
    std::optional<std::string> image;
    const RunPlace* place;
  };
  std::vector<Found> found;
  for (const RunPlace& place : options.places) {
    const auto image = of_matrix.over(place.submit).over(of_cluster).container;
    if (std::ranges::find(found, image, &Found::image) == found.end()) found.push_back({image, &place});
  }
  if (found.size() == 1) return {found.front().image, {}};
  constexpr std::size_t kMostShown = 3;
  std::string doubt =
      ": the image that the command runs in is part of what is measured, and would depend on the place: ";
  for (std::size_t i = 0; i < std::min(found.size(), kMostShown); ++i)
    doubt += (i ? ", " : "") + shown_image(found[i].image) + " on " + found[i].place->name;
  if (found.size() > kMostShown) doubt += ", …";
  return {std::nullopt, doubt +
                            "; say which in the matrix: `submit: {container: IMAGE}`, or a `partition` whose jobs "
                            "all run in one"};
}

}  // namespace orch::matrix
