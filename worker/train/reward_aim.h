// GRPO: the model completes prompts, some times each, and learns from by how much a completion's reward is above those
// of its prompt's others.
//
// The engine writes with what is being trained, an adapter or the model itself, by the same code that then teaches: a
// completion's log-probabilities are those with which it was drawn, so its ratio is 1 and need not be kept. (Where
// something is dropped, or the engine's cache has less than the format of computation, they are nearly those.)
//
// Holds: what is drawn for a prompt depends on the seed, the step, the prompt's number and the completion's own, on no
// rank and on nothing else that is drawn.
#pragma once

#include "infer/engine.h"
#include "train/aim.h"

namespace orch::train {

/// What is to be rewarded: the tokens that were written behind a prompt.
struct Completed {
  std::int64_t item = 0;  ///< the prompt's
  std::span<const std::int32_t> tokens;
  bool is_ended = false;  ///< by itself
};

struct RewardRules {
  GrpoSettings grpo;
  int completions = 8;             ///< of each prompt
  std::int64_t most = 64;          ///< tokens of one
  bool scaled = true;              ///< by the deviation of a prompt's rewards
  std::vector<std::int32_t> ends;  ///< tokens that end a completion
  std::uint64_t seed = 0;
  /// Of completions of this rank's prompts. The ranks that share the layers must all be told the same.
  std::function<Result<std::vector<double>>(std::span<const Completed>)> rewards;
};

/// `prompts`: token ids. The engine is of the decoder that is trained; it is used between passes.
std::unique_ptr<Aim> make_reward_aim(infer::Engine& engine, const Parameters& parameters,
                                     std::vector<std::vector<std::int32_t>> prompts, RewardRules rules);

}  // namespace orch::train
