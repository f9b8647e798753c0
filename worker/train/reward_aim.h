// GRPO: the model completes prompts, some times each, and learns from by how much a completion's reward is above those
// of its prompt's others.
//
// The engine writes with what is being trained, an adapter or the model itself, by the same code that then teaches: a
// completion's log-probabilities are those with which it was drawn, so in one step its ratio is 1 and need not be kept.
// (Where something is dropped, or the engine's cache has less than the format of computation, they are nearly those.)
//
// What is written for a batch may be learnt from in several steps, as TRL does it: all completions are shuffled and cut
// into parts, each of them a step, and all parts come again in the same order. For these steps each completion's
// log-probabilities are looked up once, behind the writing and with nothing dropped: its ratio is its probability now
// over that one.
//
// Log-probabilities are those of the distribution at the temperature that it was drawn with, but of all tokens: neither
// top_p nor top_k changes them. So it is in TRL.
//
// Holds:
//  - What is drawn for a prompt depends on the seed, the batch's number, the prompt's number and the completion's own,
//    on no rank and on nothing else that is drawn. So does in which part of its batch it is.
//  - A batch is written and rewarded in the first of its steps alone. All ranks have all of it from then on, so that it
//    can be kept, and each step's part is dealt over ranks as any batch is.
#pragma once

#include "infer/engine.h"
#include "train/aim.h"
#include "train/order.h"

namespace orch::train {

/// What is to be rewarded: the tokens that were written behind a prompt.
struct Completed {
  std::int64_t item = 0;  ///< the prompt's
  std::span<const std::int32_t> tokens;
  bool is_ended = false;  ///< by itself
};

/// What a reward's distance from the mean of its prompt's is divided by.
enum class Scaling : std::uint8_t {
  kGroup,  ///< by the deviation of its prompt's rewards
  kBatch,  ///< by that of all that is written for the batch
  kNone,
};

struct RewardRules {
  GrpoSettings grpo;
  /// How it is drawn. The temperature is above 0; the seed is the rules'.
  infer::Sampling sampling{1, 1, 0, 0};
  Turns turns;             ///< as the run has them
  int completions = 8;     ///< of each prompt
  std::int64_t most = 64;  ///< tokens of one
  Scaling scaling = Scaling::kGroup;
  std::vector<std::int32_t> ends;  ///< tokens that end a completion
  std::uint64_t seed = 0;
  /// Of completions of this rank's prompts. The ranks that share the layers must all be told the same.
  std::function<Result<std::vector<double>>(std::span<const Completed>)> rewards;
};

/// `prompts`: token ids. The engine is of the decoder that is trained; it is used between passes.
std::unique_ptr<Aim> make_reward_aim(infer::Engine& engine, const Parameters& parameters,
                                     std::vector<std::vector<std::int32_t>> prompts, RewardRules rules);

}  // namespace orch::train
