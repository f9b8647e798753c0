// Whether a training goes well: each step's loss and gradient norm are judged before the optimiser uses the gradient.
//
//   what is seen                                      | what is done
//   --------------------------------------------------+---------------------------------------------------
//   a loss or norm that is no number                  | the step is skipped: its gradient is not used
//   a loss or norm far above those of the last steps  | back to the last good state, with half the rate
//   the same at the same step, after going back       | the step is skipped: it is its samples, not the rate
//   too many skipped in a row, too often gone back    | the end, as `nan` or `diverged`
//
// "Far" is meant to miss the noise of fine-tuning and to catch what never comes back. Losses of small batches scatter
// by a third and more, and on data that is nearly learnt by heart one new sample is many times the mean: so 8 standard
// deviations of the last 64 steps, and a deviation counts as at least a twentieth of the mean and 0.02. With a mean of
// 2.0 the bound is never below 2.8, with 0.01 never below 0.17. A run that diverges is past that in a few steps.
// Gradients scatter more, by a factor of ten, and are clipped: 30 times the median, and never what is not even clipped.
// Of rewards this says nothing (norm_times is 0 there): a step whose completions are all worth the same has next to no
// gradient, and where most are so, each that teaches something would be far above them.
//
// Holds:
//  - A verdict is a function of the state, the step's numbers and the rules.
//  - What is skipped or gone back from is in no mean: a spike does not hide the next one.
//  - A run ends: each time it goes back is counted, and the count outlives the going back.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::train {

struct StabilityRules {
  std::size_t window = 64;   ///< steps that are looked back upon
  std::size_t enough = 32;   ///< of them have to be there before a step can be far above them
  double deviations = 8;     ///< 0: losses do not spike
  double least_part = 0.05;  ///< of the mean: a standard deviation is at least this
  double least_deviation = 0.02;
  double norm_times = 30;   ///< the median norm; 0: norms do not spike
  double least_norm = 0;    ///< that can be one, such as the least that is clipped
  int most_skips = 5;       ///< in a row
  int most_rollbacks = 3;   ///< in a run
  double rate_after = 0.5;  ///< of the rate before, each time
};

/// A step's mean loss, and its gradient's norm before it is clipped.
struct StepNumbers {
  std::int64_t step = 0;
  double loss = 0;
  double norm = 0;
};

/// Plain data: all members go to JSON and back bit for bit.
struct StabilityState {
  std::vector<double> losses;   ///< of the last steps whose gradient was used, the oldest first; finite
  std::vector<double> norms;    ///< of the same steps
  int skips = 0;                ///< in a row
  int rollbacks = 0;            ///< in the run
  std::int64_t spiked_at = -1;  ///< the step that was last gone back from; -1: none
  double rate_factor = 1;       ///< of the schedule's rate
  bool operator==(const StabilityState&) const = default;
};

enum class Deed { kGoOn, kSkip, kRollBack, kStop };
enum class Failure { kNone, kNan, kDiverged };
/// `nan`, `diverged`: as exit records have them.
std::string_view name_of(Failure failure);

struct Verdict {
  Deed deed = Deed::kGoOn;
  Failure failure = Failure::kNone;  ///< of kStop
  std::string reason;                ///< a sentence; empty of kGoOn
  StabilityState state;              ///< to go on with; of kRollBack see after_rollback()
};

Verdict judge(const StabilityState& state, const StepNumbers& numbers, const StabilityRules& rules = {});

/// What a run goes on with when it is back: the means are those of the good state, which was written with its
/// checkpoint; what counts for the whole run is the verdict's.
StabilityState after_rollback(const StabilityState& good, const StabilityState& verdict);

nlohmann::json json_of(const StabilityState& state);
Result<StabilityState> read_stability_state(const nlohmann::json& json);

}  // namespace orch::train
