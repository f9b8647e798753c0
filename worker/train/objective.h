// What training minimises. The device says how likely the model holds each token of a completion; from these
// log-probabilities each function here says what they cost (the loss) and how the cost changes with each of them (its
// derivative), which is what the device goes on backwards from. There are three objectives, as TRL has them: the
// likelihood of what was written (language modelling, SFT), preferences between two completions (DPO), and rewards of
// completions that the model itself wrote (GRPO).
//
// Holds:
//  - Whatever is returned is a share of the global batch's figure, the batch being all that one step of the optimizer
//    learns from, on all ranks and in all parts. The sizes that go in are the global batch's too. So the shares of all
//    parts, added, are the batch's figures however it was cut, and nothing is divided by ranks or parts afterwards.
//  - Derivatives are those of the share, so they add up in the same way.
//  - Only tokens that count are seen: no prompts, no padding, no answers of tools.
//  - Sums are taken in double; only the derivatives are rounded to float.
//  - What is not a number makes the loss no number: nothing is left out or set to 0.
// The caller sees to it that all spans of one completion are equally long, and that settings were checked().
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace orch::train {

/// The share in the mean of -log p over the tokens of the global batch.
double likelihood_loss(std::span<const float> logprobs, std::int64_t batch_tokens, std::span<float> derivatives);

/// The log-probability of a whole completion.
double summed(std::span<const float> logprobs);

// DPO: with the rewards beta × (log p - log p of the reference), summed over a completion, the margin is what the
// chosen completion's reward is above the rejected one's.

enum class PreferenceLoss {
  sigmoid,  ///< -log of the sigmoid of the margin
  robust,   ///< sigmoid, less what labels that are wrong with a known probability would make of it
  hinge,    ///< what the margin lacks to 1
  ipo,      ///< squared distance from 1 / (2 beta) of the margin without beta, taken of means over tokens, not sums
};

struct DpoSettings {
  PreferenceLoss loss = PreferenceLoss::sigmoid;
  double beta = 0.1;           ///< how dear it is to move away from the reference
  double label_smoothing = 0;  ///< of robust: the probability that the rejected completion is the better one
};
Result<DpoSettings> checked(const DpoSettings& settings);

/// One completion of a pair.
struct Judged {
  std::span<const float> logprobs;
  double reference = 0;  ///< what summed() made of the log-probabilities before training
  std::span<float> derivatives;
};

struct Pair {
  Judged chosen, rejected;
};

/// Shares in the means over all pairs.
struct DpoShare {
  double loss = 0;
  double chosen_reward = 0, rejected_reward = 0;
  double margin = 0;
  double accuracy = 0;  ///< pairs whose chosen completion has the higher reward

  DpoShare& operator+=(const DpoShare& other);
};
DpoShare dpo_loss(const DpoSettings& settings, const Pair& pair, std::int64_t batch_pairs);

// GRPO: the completions of one prompt are a group, and what counts is by how much a completion's reward is above those
// of its group.

/// Rewards of any part of a batch, for its log; parts can be put together.
struct Rewards {
  std::int64_t count = 0;
  double mean = 0;
  double squares = 0;  ///< sum of the squared distances from the mean

  void add(double reward);
  void add(const Rewards& other);
  /// Of a sample; nothing of fewer than two.
  std::optional<double> deviation() const;
};

/// Distances of a group's rewards from their mean, in standard deviations (plus 1e-4) if `scaled`. All are 0 where the
/// rewards are equal, as there is nothing to choose.
std::vector<double> advantages(std::span<const double> rewards, bool scaled);
/// The same in a deviation of more rewards than the group's.
std::vector<double> advantages_in(double deviation, std::span<const double> rewards);

/// What the tokens' losses are divided by.
enum class Aggregation {
  grpo,     ///< each completion by its length, then by the completions: the mean over completions of means over tokens
  bnpo,     ///< by the tokens of an accumulation step, then by the steps: the mean over steps of means over tokens
  dr_grpo,  ///< by the completions times the most tokens that one may have
  dapo,     ///< by the tokens: the mean over all tokens
};

struct GrpoSettings {
  Aggregation aggregation = Aggregation::dapo;
  double beta = 0;            ///< weight of the divergence from the reference; at 0 no reference is looked at
  double epsilon_low = 0.2;   ///< how far below 1 a token's ratio still counts
  double epsilon_high = 0.2;  ///< the same above 1
  /// Each token's divergence counts by its ratio too, which makes its derivative that of the KL divergence itself, on
  /// average: TRL's use_bias_correction_kl.
  bool divergence_by_ratio = false;
  std::int64_t max_completion_tokens = 0;  ///< of dr_grpo
  /// A larger ratio counts as this, also where the advantage is below 0 and epsilon_high bounds nothing (TRL's
  /// two-sided clipping); 0: it has no bound there.
  double delta = 0;
};
Result<GrpoSettings> checked(const GrpoSettings& settings);

/// Sizes of the global batch.
struct GrpoBatch {
  std::int64_t completions = 0;  ///< those without tokens too
  std::int64_t tokens = 0;
  /// What dapo divides by instead where several batches are of one generation: the mean of their tokens, as TRL has it.
  double mean_tokens = 0;
  std::int64_t steps = 1;        ///< accumulation steps of all ranks together; bnpo alone asks for it
  std::int64_t step_tokens = 0;  ///< of the accumulation step, and the rank, that the completion is in; the same
};

/// One completion that the model wrote. A token's ratio is its probability now over that when it was written.
struct Sampled {
  std::span<const float> logprobs;
  std::span<const float> old;        ///< those when it was written; empty: the model is still the same
  std::span<const float> reference;  ///< those of the model before training; empty where beta is 0
  double advantage = 0;
  std::span<float> derivatives;
};

/// Shares in the loss and in the means over all tokens.
struct GrpoShare {
  double loss = 0;
  double divergence = 0;                     ///< estimate of KL(model, reference); 0 where beta is 0
  double clipped_low = 0, clipped_high = 0;  ///< tokens that teach no more, as they moved far enough already

  double clipped() const { return clipped_low + clipped_high; }
  GrpoShare& operator+=(const GrpoShare& other);
};
GrpoShare grpo_loss(const GrpoSettings& settings, const Sampled& completion, const GrpoBatch& batch);

}  // namespace orch::train
