// When the moving average of the weights, which is kept as a training's result, takes the weights in, and how much of
// itself it keeps then. What it computes is the device's business.
//
// average = kept · average + (1 − kept) · weights, every `every` steps and after the last one (seed 003: 5, 0.9999),
// but for steps that changed nothing.
//
// A decay of 0.9999 remembers some 10,000 updates. A fine-tuning of 300 steps has 60 of them, and its average would be
// the untrained adapter still, to 99.4 %. So the decay is bound by (1 + n) / (10 + n) while n updates have been, as
// TensorFlow's and diffusers' averages are: what it holds is then a tenth of the run old in the mean, whatever its
// length. At 60 updates it keeps 0.87, and reaches 0.9999 after 90,000.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace orch::train {

struct AverageRules {
  double decay = 0.9999;  ///< 0: there is no average
  std::int64_t every = 5;
};

/// What the average keeps of itself when it takes in the weights after `step` (from 0) of `steps`; nothing when it does
/// not. A function of the step alone, so nothing has to be remembered.
inline std::optional<double> average_keeps(const AverageRules& rules, std::int64_t step, std::int64_t steps) {
  const std::int64_t done = step + 1, every = std::max<std::int64_t>(rules.every, 1);
  if (rules.decay <= 0 || (done % every != 0 && done != steps)) return std::nullopt;
  const auto before = static_cast<double>(step / every);  // updates that have been
  return std::min(rules.decay, (1 + before) / (10 + before));
}

}  // namespace orch::train
