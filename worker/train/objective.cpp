#include "train/objective.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace orch::train {
namespace {

/// TRL's guard against groups whose rewards hardly differ.
constexpr double kLeastDeviation = 1e-4;

/// A batch without tokens or a completion without any costs nothing, instead of 0 / 0.
double at_least_one(std::int64_t count) { return static_cast<double>(std::max<std::int64_t>(count, 1)); }

double length(std::span<const float> tokens) { return at_least_one(static_cast<std::int64_t>(tokens.size())); }

/// -log(sigmoid(x)), which neither overflows nor loses digits.
double minus_log_sigmoid(double x) { return std::max(-x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// A loss and its derivatives by the log-probabilities of each token of either completion.
struct PairLoss {
  double loss = 0, by_chosen = 0, by_rejected = 0;
};

/// `chosen` and `rejected`: how much likelier the completions have become than the reference has them, as logarithms.
PairLoss pair_loss(const DpoSettings& settings, const Pair& pair, double chosen, double rejected) {
  const double beta = settings.beta;
  const double margin = beta * (chosen - rejected);
  switch (settings.loss) {
    case PreferenceLoss::sigmoid: {
      const double slope = -beta * sigmoid(-margin);
      return {minus_log_sigmoid(margin), slope, -slope};
    }
    case PreferenceLoss::robust: {
      const double wrong = settings.label_smoothing, scale = 1 / (1 - 2 * wrong);
      const double loss = (1 - wrong) * minus_log_sigmoid(margin) - wrong * minus_log_sigmoid(-margin);
      const double slope = -beta * ((1 - wrong) * sigmoid(-margin) + wrong * sigmoid(margin)) * scale;
      return {loss * scale, slope, -slope};
    }
    case PreferenceLoss::hinge: {
      const double lacks = 1 - margin;
      if (lacks <= 0) return {};
      return {lacks, -beta, beta};
    }
    case PreferenceLoss::ipo: {
      const double chosen_tokens = length(pair.chosen.logprobs), rejected_tokens = length(pair.rejected.logprobs);
      const double off = chosen / chosen_tokens - rejected / rejected_tokens - 1 / (2 * beta);
      return {off * off, 2 * off / chosen_tokens, -2 * off / rejected_tokens};
    }
  }
  return {};
}

/// What each token of the completion is multiplied by.
double weight_of(const GrpoSettings& settings, const Sampled& completion, const GrpoBatch& batch) {
  switch (settings.aggregation) {
    case Aggregation::grpo:
      return 1 / (length(completion.logprobs) * at_least_one(batch.completions));
    case Aggregation::bnpo:
      return 1 / (at_least_one(batch.step_tokens) * at_least_one(batch.steps));
    case Aggregation::dr_grpo:
      return 1 / (at_least_one(batch.completions) * static_cast<double>(settings.max_completion_tokens));
    case Aggregation::dapo:
      return 1 / (batch.mean_tokens > 0 ? std::max(batch.mean_tokens, 1.0) : at_least_one(batch.tokens));
  }
  return 0;
}

Error not_in_range(const char* what, double value, const char* expected) {
  std::ostringstream text;
  text << what << " is " << value << ", expected " << expected;
  return {text.str()};
}

}  // namespace

double likelihood_loss(std::span<const float> logprobs, std::int64_t batch_tokens, std::span<float> derivatives) {
  const double tokens = at_least_one(batch_tokens);
  std::ranges::fill(derivatives, static_cast<float>(-1 / tokens));
  return -summed(logprobs) / tokens;
}

double summed(std::span<const float> logprobs) {
  double total = 0;
  for (const float logprob : logprobs) total += static_cast<double>(logprob);
  return total;
}

Result<DpoSettings> checked(const DpoSettings& settings) {
  if (!(settings.beta > 0 && std::isfinite(settings.beta)))
    return not_in_range("dpo: beta", settings.beta, "a number above 0");
  const double smoothing = settings.label_smoothing;
  if (!(smoothing >= 0 && smoothing < 0.5))
    return not_in_range("dpo: label_smoothing", smoothing, "from 0 to less than 0.5");
  if (smoothing != 0 && settings.loss != PreferenceLoss::robust)
    return not_in_range("dpo: label_smoothing", smoothing, "0, as only the loss 'robust' has it");
  return settings;
}

DpoShare& DpoShare::operator+=(const DpoShare& other) {
  loss += other.loss;
  chosen_reward += other.chosen_reward;
  rejected_reward += other.rejected_reward;
  margin += other.margin;
  accuracy += other.accuracy;
  return *this;
}

DpoShare dpo_loss(const DpoSettings& settings, const Pair& pair, std::int64_t batch_pairs) {
  const double pairs = at_least_one(batch_pairs);
  const double chosen = summed(pair.chosen.logprobs) - pair.chosen.reference;
  const double rejected = summed(pair.rejected.logprobs) - pair.rejected.reference;
  const PairLoss cost = pair_loss(settings, pair, chosen, rejected);
  std::ranges::fill(pair.chosen.derivatives, static_cast<float>(cost.by_chosen / pairs));
  std::ranges::fill(pair.rejected.derivatives, static_cast<float>(cost.by_rejected / pairs));

  DpoShare share;
  share.loss = cost.loss / pairs;
  share.chosen_reward = settings.beta * chosen / pairs;
  share.rejected_reward = settings.beta * rejected / pairs;
  share.margin = (settings.beta * chosen - settings.beta * rejected) / pairs;
  share.accuracy = settings.beta * chosen > settings.beta * rejected ? 1 / pairs : 0;
  return share;
}

void Rewards::add(double reward) { add({1, reward, 0}); }

void Rewards::add(const Rewards& other) {
  if (other.count == 0) return;
  const auto ours = static_cast<double>(count), theirs = static_cast<double>(other.count);
  const double apart = other.mean - mean;
  count += other.count;
  mean += apart * theirs / (ours + theirs);
  squares += other.squares + apart * apart * ours * theirs / (ours + theirs);
}

std::optional<double> Rewards::deviation() const {
  if (count < 2) return std::nullopt;
  return std::sqrt(squares / static_cast<double>(count - 1));
}

namespace {

/// Equal rewards have exactly their value as mean, and a deviation of exactly 0: add() moves neither.
Rewards group_of(std::span<const double> rewards) {
  Rewards group;
  for (const double reward : rewards) group.add(reward);
  return group;
}

std::vector<double> distances(std::span<const double> rewards, double mean, double unit) {
  std::vector<double> made;
  for (const double reward : rewards) made.push_back((reward - mean) / unit);
  return made;
}

}  // namespace

std::vector<double> advantages(std::span<const double> rewards, bool scaled) {
  const Rewards group = group_of(rewards);
  return distances(rewards, group.mean, scaled ? group.deviation().value_or(0) + kLeastDeviation : 1);
}

std::vector<double> advantages_in(double deviation, std::span<const double> rewards) {
  return distances(rewards, group_of(rewards).mean, deviation + kLeastDeviation);
}

Result<GrpoSettings> checked(const GrpoSettings& settings) {
  if (!(settings.beta >= 0 && std::isfinite(settings.beta)))
    return not_in_range("grpo: beta", settings.beta, "a number from 0");
  // At 0 a ratio of 1 would lie on its bound, where the derivative has no one value.
  if (!(settings.epsilon_low > 0)) return not_in_range("grpo: epsilon_low", settings.epsilon_low, "a number above 0");
  if (!(settings.epsilon_high > 0))
    return not_in_range("grpo: epsilon_high", settings.epsilon_high, "a number above 0");
  if (settings.delta != 0 && !(settings.delta > 1 + settings.epsilon_high && std::isfinite(settings.delta)))
    return not_in_range("grpo: delta", settings.delta, "0, or a number above 1 + epsilon_high");
  if (settings.aggregation == Aggregation::dr_grpo && settings.max_completion_tokens < 1)
    return not_in_range("grpo: max_completion_tokens", static_cast<double>(settings.max_completion_tokens),
                        "a number from 1, as dr_grpo divides by it");
  return settings;
}

GrpoShare& GrpoShare::operator+=(const GrpoShare& other) {
  loss += other.loss;
  divergence += other.divergence;
  clipped_low += other.clipped_low;
  clipped_high += other.clipped_high;
  return *this;
}

GrpoShare grpo_loss(const GrpoSettings& settings, const Sampled& completion, const GrpoBatch& batch) {
  const double weight = weight_of(settings, completion, batch);
  const double advantage = completion.advantage;
  const double lowest = 1 - settings.epsilon_low, highest = 1 + settings.epsilon_high;
  GrpoShare share;
  for (std::size_t i = 0; i < completion.logprobs.size(); ++i) {
    const auto logprob = static_cast<double>(completion.logprobs[i]);
    const double old = completion.old.empty() ? logprob : static_cast<double>(completion.old[i]);
    const double ratio = std::exp(logprob - old);
    const bool beyond = settings.delta > 0 && ratio > settings.delta;
    const double gain = (beyond ? settings.delta : ratio) * advantage;
    const double bounded_gain = std::clamp(ratio, lowest, highest) * advantage;
    // Where both are the same, the ratio is within its bounds or the advantage is 0, and the derivative is that of
    // ratio × advantage: at a ratio of 1 the advantage itself.
    const bool clipped = bounded_gain < gain;
    double loss = -(clipped ? bounded_gain : gain);
    double derivative = clipped || beyond ? 0 : -gain;
    if (settings.beta != 0) {
      const double lost = static_cast<double>(completion.reference[i]) - logprob;
      double divergence = std::exp(lost) - lost - 1, slope = 1 - std::exp(lost);
      if (settings.divergence_by_ratio) {
        // (ratio × divergence)' is ratio × (divergence + slope), as the ratio is its own derivative.
        divergence *= ratio;
        slope = -ratio * lost;
      }
      loss += settings.beta * divergence;
      derivative += settings.beta * slope;
      share.divergence += divergence;
    }
    share.loss += loss;
    if (clipped) (advantage < 0 ? share.clipped_low : share.clipped_high) += 1;
    completion.derivatives[i] = static_cast<float>(weight * derivative);
  }
  const double tokens = at_least_one(batch.tokens);
  share.loss *= weight;
  share.divergence /= tokens;
  share.clipped_low /= tokens;
  share.clipped_high /= tokens;
  return share;
}

}  // namespace orch::train
