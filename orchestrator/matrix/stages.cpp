#include "matrix/stages.h"

#include <algorithm>

#include "base/text.h"

namespace orch::matrix {
namespace {

struct Walk {
  std::span<const Stage> stages;
  std::vector<int> seen;  // 0 not yet, 1 on the path, 2 done
  std::vector<std::size_t> path;
  Diagnostics& diagnostics;
};

void follow(Walk& walk, std::size_t at) {
  walk.seen[at] = 1;
  walk.path.push_back(at);
  const Stage& stage = walk.stages[at];
  const auto step = [&](const std::string& name, const char* key) {
    const auto next =
        static_cast<std::size_t>(std::ranges::find(walk.stages, name, &Stage::name) - walk.stages.begin());
    if (next == walk.stages.size()) return;
    if (walk.seen[next] == 1) {
      std::string cycle;
      for (auto from = std::ranges::find(walk.path, next); from != walk.path.end(); ++from)
        cycle += walk.stages[*from].name + " → ";
      walk.diagnostics.error(stage.place_of(key),
                             "a cycle, in which no stage could start: " + shown(cycle + name, 400));
    } else if (walk.seen[next] == 0) {
      follow(walk, next);
    }
  };
  if (!stage.adapter_of.empty()) step(stage.adapter_of, "adapter");
  for (const std::string& name : stage.after) step(name, "after");
  walk.path.pop_back();
  walk.seen[at] = 2;
}

void find_cycles(std::span<const Stage> stages, Diagnostics& diagnostics) {
  Walk walk{stages, std::vector<int>(stages.size()), {}, diagnostics};
  for (std::size_t i = 0; i < stages.size(); ++i)
    if (walk.seen[i] == 0) follow(walk, i);
}

}  // namespace

void check_links(std::span<const Stage> stages, Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const Stage& stage : stages) names.push_back(stage.name);
  const auto check = [&](const std::string& name, const Place& place) {
    if (std::ranges::find(names, name) == names.end())
      diagnostics.error(
          place, "no stage " + quote(name) + hint(name, names) + "; the stages are " + shown(join(names, ", "), 400));
  };
  for (const Stage& stage : stages) {
    for (const std::string& name : stage.after) check(name, stage.place_of("after"));
    if (stage.adapter_of.empty()) continue;
    const Place& place = stage.place_of("adapter");
    check(stage.adapter_of, place);
    const auto target = std::ranges::find(stages, stage.adapter_of, &Stage::name);
    if (target != stages.end() && target->kind != CellKind::kTrain && target->name != stage.name)
      diagnostics.error(place, "stage " + quote(target->name) + " is of kind " + std::string(name_of(target->kind)) +
                                   " and makes no adapter; 'adapter' must name a train stage");
  }
  find_cycles(stages, diagnostics);
}

std::vector<std::uint32_t> stage_order(std::span<const Stage> stages) {
  std::vector<std::uint32_t> order;
  std::vector<bool> placed(stages.size());
  const auto ready = [&](const Stage& stage) {
    const auto done = [&](const std::string& name) {
      for (std::size_t i = 0; i < stages.size(); ++i)
        if (stages[i].name == name) return static_cast<bool>(placed[i]);
      return false;
    };
    return (stage.adapter_of.empty() || done(stage.adapter_of)) && std::ranges::all_of(stage.after, done);
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < stages.size() && !moved; ++i) {
      if (placed[i] || !ready(stages[i])) continue;
      placed[i] = moved = true;
      order.push_back(static_cast<std::uint32_t>(i));
    }
  }
  return order;
}

}  // namespace orch::matrix
