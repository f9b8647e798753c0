#include "matrix/picks.h"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "base/fields.h"
#include "matrix/content.h"

namespace orch::matrix {
namespace {

std::string text_of(const Axes& axes) {
  std::string text;
  for (const auto& [name, values] : axes) {
    text += name + "=";
    for (const SettingValue& value : values) text += canonical_json(to_json(value)) + ",";
    text += ";";
  }
  return text;
}

/// Gives picks that would make the same axes the same group number.
template <class Facts>
void group(std::vector<Pick>& picked, Facts facts) {
  std::map<std::string, std::uint32_t> groups;
  for (Pick& pick : picked) {
    const std::string text = text_of(pick.own) + "|" + text_of(pick.category) + "|" + facts(pick);
    pick.group = groups.try_emplace(text, static_cast<std::uint32_t>(groups.size())).first->second;
  }
}

/// The selectors that pick the entry, the weakest first: a name outranks globs and conditions; of equals the later
/// wins.
template <class Entry, class Visit>
void for_each_selector(const Entry& entry, const std::vector<Selector>& selectors, const Catalog& catalog,
                       Visit visit) {
  for (const bool exact : {false, true})
    for (const Selector& selector : selectors)
      if (selector.is_exact() == exact && picks(selector, entry, catalog)) visit(selector);
}

class Picker {
 public:
  Picker(const Stage& stage, const Catalog& catalog, Diagnostics& diagnostics)
      : stage_(stage), catalog_(catalog), diagnostics_(diagnostics) {}

  template <class Entry>
  std::vector<Pick> pick_from(std::span<const Entry> entries, const std::vector<Selector>& selectors,
                              std::vector<std::string> Category::*members, bool everything) const {
    std::vector<Pick> picked;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Entry& entry = entries[i];
      Pick pick;
      pick.index = static_cast<std::uint32_t>(i);
      pick.place = stage_.place;
      bool in_any = false;
      for (const std::string& name : stage_.categories) {
        const Category* category = catalog_.categories.find(name);
        pick.in.push_back(category && std::ranges::find(category->*members, entry.name) != (category->*members).end());
        in_any = in_any || pick.in.back();
      }
      const bool selected =
          std::ranges::any_of(selectors, [&](const Selector& s) { return picks(s, entry, catalog_); });
      const bool all = selectors.empty() && (!stage_.categories.empty() || everything);
      if (!(selected || all) || (!stage_.categories.empty() && !in_any)) continue;
      for_each_selector(entry, selectors, catalog_, [&](const Selector& selector) { add(pick, selector); });
      picked.push_back(std::move(pick));
    }
    return picked;
  }

  Pick nothing() const {
    Pick pick;
    pick.place = stage_.place;
    pick.in.assign(stage_.categories.size(), true);
    return pick;
  }

 private:
  void add(Pick& pick, const Selector& selector) const {
    const Category* category = selector.category ? catalog_.categories.find(*selector.category) : nullptr;
    if (category) override_with(pick.category, category_axes(*category, stage_.kind, diagnostics_), stage_.kind);
    override_with(pick.own, selector.settings, stage_.kind);
    pick.place = selector.place;
  }

  const Stage& stage_;
  const Catalog& catalog_;
  Diagnostics& diagnostics_;
};

/// The place of the setting in the strongest of the selectors that say it.
template <class Entry>
std::optional<Place> place_in(const std::vector<Selector>& selectors, const Entry* entry, const std::string& name,
                              const Catalog& catalog) {
  std::optional<Place> found;
  if (!entry) return found;
  for_each_selector(*entry, selectors, catalog, [&](const Selector& selector) {
    if (const auto at = selector.places.find(name); at != selector.places.end()) found = at->second;
  });
  return found;
}

std::optional<Place> place_in(const Category* category, const std::string& name) {
  if (!category) return std::nullopt;
  const auto at = category->settings.find(name);
  if (at == category->settings.end()) return std::nullopt;
  return place_of(at->second, category->source.file);
}

/// The place of the setting in the categories through which the selectors pick.
template <class Entry>
std::optional<Place> place_in_categories(const std::vector<Selector>& selectors, const Entry* entry,
                                         const std::string& name, const Catalog& catalog) {
  std::optional<Place> found;
  if (!entry) return found;
  for_each_selector(*entry, selectors, catalog, [&](const Selector& selector) {
    if (!selector.category) return;
    if (auto place = place_in(catalog.categories.find(*selector.category), name)) found = std::move(place);
  });
  return found;
}

}  // namespace

void override_with(Axes& axes, const Axes& stronger, CellKind kind) {
  for (const auto& [name, values] : stronger) axes[name] = values;
  if (kind == CellKind::kCommand) return;
  if (stronger.contains("steps") && !stronger.contains("epochs")) axes.erase("epochs");
  if (stronger.contains("epochs") && !stronger.contains("steps")) axes.erase("steps");
}

std::string_view default_dtype(const Model& model) {
  return name_of(model.dtype == DType::kFp32 ? DType::kBf16 : model.dtype);
}

Picks pick(const Stage& stage, const Catalog& catalog, const std::function<bool(std::uint32_t model)>& was_trained,
           Diagnostics& diagnostics) {
  const Picker picker(stage, catalog, diagnostics);
  Picks picked;
  const bool whatever_was_trained = !stage.adapter_of.empty() && stage.models.empty() && stage.categories.empty();
  picked.models = picker.pick_from(catalog.models.all(), stage.models, &Category::models, whatever_was_trained);
  if (whatever_was_trained) std::erase_if(picked.models, [&](const Pick& pick) { return !was_trained(pick.index); });
  picked.tasks = picker.pick_from(catalog.tasks.all(), stage.tasks, &Category::tasks, false);
  const bool may_lack = stage.kind == CellKind::kCommand || stage.kind == CellKind::kBench;
  if (may_lack && stage.models.empty() && stage.categories.empty() && stage.adapter_of.empty())
    picked.models = {picker.nothing()};
  if (stage.kind == CellKind::kCommand && stage.tasks.empty() && stage.categories.empty())
    picked.tasks = {picker.nothing()};

  for (Pick& pick : picked.models)
    if (pick.index != kNone) pick.content = canonical_json(model_content(catalog.models[pick.index]));
  for (Pick& pick : picked.tasks)
    pick.content = (pick.index == kNone ? "" : ",\"task\":" + canonical_json(task_content(catalog.tasks[pick.index]))) +
                   ",\"version\":" + std::to_string(kContentVersion) + "}";
  group(picked.models, [&](const Pick& pick) {
    if (pick.index == kNone) return std::string("-");
    const Model& model = catalog.models[pick.index];
    std::string text = std::string(model.own ? "own" : default_dtype(model)) + (model.decoder ? " decoder" : "");
    for (const Engine engine : model.engines) text += " " + std::string(name_of(engine));
    return text;
  });
  group(picked.tasks, [&](const Pick& pick) {
    if (pick.index == kNone) return std::string("-");
    const Task& task = catalog.tasks[pick.index];
    return std::string(name_of(task.kind)) + " " + std::to_string(task.shots) + " " +
           std::to_string(task.max_output_tokens) + " " + std::to_string(task.bench ? task.bench->batch_per_gpu : 0) +
           (task.lm_eval ? " lm-eval" : "") + (task.type == "grpo" ? " writes" : "");
  });
  return picked;
}

std::optional<Pair> pair_of(const Pick& model, const Pick& task, const Stage& stage, const Catalog& catalog) {
  Pair pair{model, task, model.index == kNone ? nullptr : &catalog.models[model.index],
            task.index == kNone ? nullptr : &catalog.tasks[task.index], 0};
  if (stage.categories.empty()) return pair;
  for (std::size_t i = 0; i < stage.categories.size(); ++i) {
    if (!model.in[i] || !task.in[i]) continue;
    pair.category = i + 1;
    return pair;
  }
  return std::nullopt;
}

Place place_of_setting(const std::string& name, const Pair& pair, const Stage& stage, const Catalog& catalog) {
  const Category* named = pair.category ? catalog.categories.find(stage.categories[pair.category - 1]) : nullptr;
  if (auto place = place_in(stage.tasks, pair.task, name, catalog)) return *place;
  if (auto place = place_in(stage.models, pair.model, name, catalog)) return *place;
  if (stage.settings.contains(name)) return stage.place_of("settings." + name);
  if (auto place = place_in(named, name)) return *place;
  if (auto place = place_in_categories(stage.models, pair.model, name, catalog)) return *place;
  if (auto place = place_in_categories(stage.tasks, pair.task, name, catalog)) return *place;
  return stage.place;
}

}  // namespace orch::matrix
