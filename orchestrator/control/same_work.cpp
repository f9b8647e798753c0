#include "control/same_work.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "base/digest.h"

namespace orch::control {
namespace {

using matrix::kNone;

/// Settings that do not change how long a cell takes: where chance begins, and what it may have at most.
constexpr std::array<std::string_view, 5> kNoMatter = {"seed", "time", "memory", "gpu_memory", "run_unsafe_code"};
/// Of training also the numbers that a step computes with.
constexpr std::array<std::string_view, 17> kNoMatterToTraining = {
    "learning_rate",   "alpha",         "schedule",        "warmup",      "clip",    "weight_decay",
    "rank_stabilised", "loss",          "label_smoothing", "aggregation", "epsilon", "epsilon_high",
    "delta",           "scale_rewards", "temperature",     "top_p",       "top_k"};

bool matters(std::string_view name, matrix::CellKind kind) {
  const auto has = [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  return !has(kNoMatter) && !(kind == matrix::CellKind::kTrain && has(kNoMatterToTraining));
}

}  // namespace

SameWork::SameWork(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site)
    : plan_(plan), expansion_(expansion), site_(site) {
  // Sets of settings belong to stages of one kind or several; what matters to one of them is kept apart for all.
  std::vector<bool> trains(expansion.settings.size(), true);
  for (const matrix::Cell& cell : expansion.cells)
    if (cell.kind != matrix::CellKind::kTrain) trains[cell.settings] = false;
  std::unordered_map<std::string, std::uint32_t> known;
  std::string text;
  for (std::uint32_t i = 0; i < expansion.settings.size(); ++i) {
    text = trains[i] ? "t" : "";
    for (const auto& [name, value] : expansion.settings[i].values()) {
      if (!matters(name, trains[i] ? matrix::CellKind::kTrain : matrix::CellKind::kEval)) continue;
      text += name;
      text += '=';
      matrix::append_value(text, value);
    }
    alike_.push_back(known.try_emplace(text, i).first->second);
  }
}

Work SameWork::of(std::uint32_t at) {
  const matrix::Cell& cell = expansion_.cells[at];
  const std::uint32_t need = plan_.need_of[at];
  const auto [known, added] = known_.try_emplace(
      {alike_[cell.settings], cell.stage, cell.model, cell.task, cell.depends != kNone, need}, kNoWork);
  if (added) known->second = number(cell, need);
  return known->second;
}

Work SameWork::number(const matrix::Cell& cell, std::uint32_t need) const {
  nlohmann::json what = matrix::content_of(expansion_, cell, site_.catalog);
  nlohmann::json& settings = what["settings"] = nlohmann::json::object();
  for (const auto& [name, value] : expansion_.settings[cell.settings].values())
    if (matters(name, cell.kind)) settings[name] = matrix::to_json(value);
  if (what.contains("adapter")) what["adapter"] = true;
  const planner::Placement& place = plan_.sizings[need].chosen;
  what["place"] = {{"profile", site_.catalog.profiles[place.profile].name},
                   {"gpu", site_.cluster.partitions[place.partition].gpu},
                   {"gpus", place.gpus},
                   {"nodes", place.nodes},
                   {"share", place.share},
                   {"cpus", place.cpus},
                   {"layout", {place.layout.tp, place.layout.pp, place.layout.dp}}};
  return work_of(sha256(canonical_json(what)));
}

Work work_of(const Digest& digest) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < sizeof number; ++i) number = number << 8 | digest.bytes[i];
  number >>= 1;
  return Work{number == 0 ? 1 : number};
}

}  // namespace orch::control
