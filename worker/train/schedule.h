// The learning rate of a step.
//
// A run has one to three stages of equal length (seed 003: broad learning, refinement, finishing), with 1, 0.3 and 0.1
// of the highest rate: each about a third of the one before, so that all three have something left to do and the last
// one moves what the first has found by a tenth. Each stage is a course of its own; the rate warms up in the first
// alone, since later ones begin lower than where the weights have been.
//
// cosine and linear fall to 0 at their stage's end and are, like the warm-up, those of transformers
// (get_cosine_schedule_with_warmup and its like), so that losses can be compared step by step. The first step of a
// warm-up therefore has rate 0.
//
// plateau is seed 003's rule, judged on the held-out loss at each evaluation: x 1.05 while it falls, x 0.8 when it has
// not fallen for `patience` evaluations, between a floor and the stage's highest rate. The highest bounds it from the
// beginning, so it can grow only where it has been lowered.
//
// Holds: a rate is a function of the rules, the step and the plateau's state. The state is plain data, and goes to JSON
// and back bit for bit.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/result.h"

namespace orch::train {

enum class Course { kCosine, kLinear, kConstant, kPlateau };

struct PlateauRules {
  double on_plateau = 0.8;
  double while_falling = 1.05;
  int patience = 2;         ///< evaluations without a fall that make a plateau
  double threshold = 1e-3;  ///< a loss has fallen that is below the best by more than this part of it
  double floor = 0.01;      ///< least part of the stage's highest rate
};

struct ScheduleRules {
  Course course = Course::kCosine;
  double rate = 1e-4;                ///< the highest
  double warmup = 0;                 ///< share of all steps, at most the first stage
  int stages = 1;                    ///< 1 to 3
  std::int64_t steps = 1;            ///< of the whole run
  std::int64_t evaluate_every = 25;  ///< steps between evaluations, where there is held-out data (seed 003)
  PlateauRules plateau;
};

struct PlateauState {
  int stage = 0;               ///< whose course this is
  double factor = 1;           ///< of the stage's highest rate
  std::optional<double> best;  ///< lowest held-out loss of the stage; finite
  int without_fall = 0;        ///< evaluations since the last fall or change
  bool operator==(const PlateauState&) const = default;
};

/// The stage of a step, from 0.
int stage_of(const ScheduleRules& rules, std::int64_t step);
/// Its part of the highest rate.
double stage_factor(int stage);

/// The rate of a step, from 0. The state says something of kPlateau alone, and may be older than the step's stage.
double rate_at(const ScheduleRules& rules, std::int64_t step, const PlateauState& plateau = {});

/// Whether the model is evaluated after a step: every so many, and after the last.
bool is_evaluated_after(const ScheduleRules& rules, std::int64_t step);

/// The state after an evaluation that followed `step`. A loss that is no number has not fallen.
PlateauState after_evaluation(const ScheduleRules& rules, const PlateauState& state, std::int64_t step, double loss);

nlohmann::json json_of(const PlateauState& state);
Result<PlateauState> read_plateau_state(const nlohmann::json& json);

}  // namespace orch::train
