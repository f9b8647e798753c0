// What completions are worth: the number that GRPO raises.
//
//   rules.h   | a YAML file of rules: what a completion holds, its length, whether it is JSON, whether its answer is
//   right command.h | a program of the user's, which reads completions and prints numbers
//
// docs/rewards.md says what both promise.
//
// Holds:
//  - There is one finite number for each completion, in their order, or an error that says why there is none: a reward
//    that is missing is never a 0, which would be learnt from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace orch::reward {

/// Completions are hostile: a model that learns from rewards finds out what they overlook.
struct Completion {
  std::string prompt;       ///< as the model saw it
  std::string text;         ///< any bytes: a completion that was cut off may end within a character
  std::int64_t tokens = 0;  ///< of the completion, without the one that ends it
  bool is_ended = false;    ///< by itself, not cut off at its longest
  std::string other;        ///< the row's other fields, a JSON object; empty: none
  std::int64_t group = 0;   ///< the completions of one prompt have the same
};

/// No reward is beyond it on either side, so that sums and squares stay finite.
constexpr double kMostReward = 1e9;

class Reward {
 public:
  virtual ~Reward() = default;
  virtual Result<std::vector<double>> of(std::span<const Completion> completions) = 0;
};

}  // namespace orch::reward
