#include "train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace orch::train {
namespace {

constexpr std::array<double, 3> kStageFactors = {1, 0.3, 0.1};

int stages_of(const ScheduleRules& rules) {
  return std::clamp(rules.stages, 1, static_cast<int>(kStageFactors.size()));
}

std::int64_t begin_of(const ScheduleRules& rules, int stage) { return rules.steps * stage / stages_of(rules); }

}  // namespace

int stage_of(const ScheduleRules& rules, std::int64_t step) {
  int stage = stages_of(rules) - 1;
  while (stage > 0 && begin_of(rules, stage) > step) --stage;
  return stage;
}

double stage_factor(int stage) {
  return kStageFactors[static_cast<std::size_t>(std::clamp(stage, 0, static_cast<int>(kStageFactors.size()) - 1))];
}

double rate_at(const ScheduleRules& rules, std::int64_t step, const PlateauState& plateau) {
  const int stage = stage_of(rules, step);
  const double highest = rules.rate * stage_factor(stage);
  const std::int64_t begin = begin_of(rules, stage), length = begin_of(rules, stage + 1) - begin, at = step - begin;
  const double asked = std::ceil(static_cast<double>(rules.steps) * rules.warmup);
  const std::int64_t warm = stage == 0 ? static_cast<std::int64_t>(std::min(asked, static_cast<double>(length))) : 0;
  if (at < warm) return highest * static_cast<double>(at) / static_cast<double>(warm);
  const double done = static_cast<double>(at - warm) / static_cast<double>(std::max<std::int64_t>(length - warm, 1));
  switch (rules.course) {
    case Course::kCosine:
      return highest * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * std::min(done, 1.0))));
    case Course::kLinear:
      return highest * std::max(0.0, 1 - done);
    case Course::kConstant:
      return highest;
    case Course::kPlateau:
      return highest * (plateau.stage == stage ? plateau.factor : 1);
  }
  return highest;
}

bool is_evaluated_after(const ScheduleRules& rules, std::int64_t step) {
  const std::int64_t done = step + 1;
  return done % std::max<std::int64_t>(rules.evaluate_every, 1) == 0 || done == rules.steps;
}

PlateauState after_evaluation(const ScheduleRules& rules, const PlateauState& state, std::int64_t step, double loss) {
  PlateauState next = state;
  if (const int stage = stage_of(rules, step); stage != state.stage) next = {stage, 1, std::nullopt, 0};
  const PlateauRules& plateau = rules.plateau;
  if (std::isfinite(loss) && (!next.best || loss < *next.best - plateau.threshold * std::abs(*next.best))) {
    // The first loss of a stage is no fall: there is nothing that it fell from.
    if (next.best) next.factor = std::min(1.0, next.factor * plateau.while_falling);
    next.best = loss;
    next.without_fall = 0;
  } else if (++next.without_fall >= plateau.patience) {
    next.factor = std::max(plateau.floor, next.factor * plateau.on_plateau);
    next.without_fall = 0;
  }
  return next;
}

nlohmann::json json_of(const PlateauState& state) {
  nlohmann::json json = {{"stage", state.stage}, {"factor", state.factor}, {"without_fall", state.without_fall}};
  if (state.best) json["best"] = *state.best;
  return json;
}

Result<PlateauState> read_plateau_state(const nlohmann::json& json) {
  try {
    PlateauState state{json.at("stage"), json.at("factor"), std::nullopt, json.at("without_fall")};
    if (json.contains("best")) state.best = json.at("best").get<double>();
    return state;
  } catch (const nlohmann::json::exception& exception) {
    return Error{std::string("the plateau's state: ") + exception.what()};
  }
}

}  // namespace orch::train
