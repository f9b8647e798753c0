// What training minimises: cases worked out by hand, derivatives against differences of the loss, and what TRL's own
// trainers made of the same numbers, recorded by scripts/record-train-losses.
#include "train/objective.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "support/source_dir.h"

namespace orch::train {
namespace {

using nlohmann::json;
using testing::DoubleEq;
using testing::Each;
using testing::ElementsAre;
using testing::FloatEq;
using testing::IsNan;
using testing::Pointwise;

using Floats = std::vector<float>;

constexpr double kRounding = 1e-12;  // of sums in another order
const double kLogTwo = std::log(2.0);
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float logarithm(double ratio) { return static_cast<float>(std::log(ratio)); }

// By hand: the likelihood.

TEST(Likelihood, IsAMeanOverTheTokensOfTheWholeBatch) {
  Floats derivatives(3);
  // 1 + 2 + 0.5, of the 7 tokens of the batch.
  EXPECT_THAT(likelihood_loss(Floats{-1, -2, -0.5}, 7, derivatives), DoubleEq(0.5));
  EXPECT_THAT(derivatives, Each(FloatEq(-1.0F / 7)));
}

TEST(Likelihood, OfABatchWithoutTokensCostsNothing) { EXPECT_EQ(likelihood_loss({}, 0, {}), 0); }

// By hand: preferences.

/// A pair whose chosen completion has become likelier than the reference has it, by 2, and whose rejected one has
/// become less likely, by 1.
struct TwoSides {
  Floats chosen{-1, -2}, rejected{-1, -1, -1.5, -0.5};
  Floats chosen_derivatives = Floats(2), rejected_derivatives = Floats(4);

  Pair pair(double chosen_reference = -5, double rejected_reference = -3) {
    return {{chosen, chosen_reference, chosen_derivatives}, {rejected, rejected_reference, rejected_derivatives}};
  }
};

TEST(Preference, SigmoidOfTheMarginByHand) {
  TwoSides sides;
  const DpoShare share = dpo_loss({PreferenceLoss::sigmoid, 0.5, 0}, sides.pair(), 1);
  EXPECT_THAT(share.chosen_reward, DoubleEq(1));
  EXPECT_THAT(share.rejected_reward, DoubleEq(-0.5));
  EXPECT_THAT(share.margin, DoubleEq(1.5));
  EXPECT_THAT(share.accuracy, DoubleEq(1));
  EXPECT_THAT(share.loss, DoubleEq(std::log(1 + std::exp(-1.5))));
  // beta × sigmoid(-1.5)
  const auto slope = static_cast<float>(0.5 / (1 + std::exp(1.5)));
  EXPECT_THAT(sides.chosen_derivatives, Each(FloatEq(-slope)));
  EXPECT_THAT(sides.rejected_derivatives, Each(FloatEq(slope)));
}

TEST(Preference, IsAMeanOverThePairsOfTheWholeBatch) {
  TwoSides sides;
  const DpoShare share = dpo_loss({PreferenceLoss::sigmoid, 0.5, 0}, sides.pair(), 4);
  EXPECT_THAT(share.chosen_reward, DoubleEq(0.25));
  EXPECT_THAT(share.rejected_reward, DoubleEq(-0.125));
  EXPECT_THAT(share.margin, DoubleEq(0.375));
  EXPECT_THAT(share.accuracy, DoubleEq(0.25));
  EXPECT_THAT(share.loss, DoubleEq(std::log(1 + std::exp(-1.5)) / 4));
  EXPECT_THAT(sides.chosen_derivatives, Each(FloatEq(static_cast<float>(-0.125 / (1 + std::exp(1.5))))));
}

TEST(Preference, HingeIsFlatOnceTheMarginIsOne) {
  TwoSides sides;
  // 0.25 × 3 lacks 0.25.
  EXPECT_THAT(dpo_loss({PreferenceLoss::hinge, 0.25, 0}, sides.pair(), 1).loss, DoubleEq(0.25));
  EXPECT_THAT(sides.chosen_derivatives, Each(-0.25F));
  EXPECT_THAT(sides.rejected_derivatives, Each(0.25F));
  EXPECT_EQ(dpo_loss({PreferenceLoss::hinge, 0.5, 0}, sides.pair(), 1).loss, 0);
  EXPECT_THAT(sides.chosen_derivatives, Each(0));
  EXPECT_THAT(sides.rejected_derivatives, Each(0));
  // (2 + 2) × 0.25 lacks nothing: relu is flat at 0.
  EXPECT_EQ(dpo_loss({PreferenceLoss::hinge, 0.25, 0}, sides.pair(-5, -2), 1).loss, 0);
  EXPECT_THAT(sides.chosen_derivatives, Each(0));
}

TEST(Preference, IpoCountsEachCompletionByItsTokens) {
  TwoSides sides;
  // 2 / 2 - (-1) / 4 = 1.25 is 0.25 above 1 / (2 × 0.5); 2 × 0.25 by tokens is 0.25 and 0.125.
  EXPECT_THAT(dpo_loss({PreferenceLoss::ipo, 0.5, 0}, sides.pair(), 1).loss, DoubleEq(0.0625));
  EXPECT_THAT(sides.chosen_derivatives, Each(0.25F));
  EXPECT_THAT(sides.rejected_derivatives, Each(-0.125F));
}

TEST(Preference, RobustTakesWrongLabelsIntoAccount) {
  TwoSides sides;
  // With l = log(1 + e^-m), so that -log sigmoid(-m) is l + m: (3/4 l - 1/4 (l + m)) / (1/2) = l - m / 2.
  EXPECT_NEAR(dpo_loss({PreferenceLoss::robust, 0.5, 0.25}, sides.pair(), 1).loss, std::log(1 + std::exp(-1.5)) - 0.75,
              kRounding);
  // And its derivative by m: -sigmoid(-m) - 1/2.
  EXPECT_THAT(sides.chosen_derivatives, Each(FloatEq(static_cast<float>(0.5 * (-1 / (1 + std::exp(1.5)) - 0.5)))));
}

TEST(Preference, FarMarginsNeitherOverflowNorVanish) {
  TwoSides sides;
  EXPECT_THAT(dpo_loss({PreferenceLoss::sigmoid, 1, 0}, sides.pair(1997, -3), 1).loss, DoubleEq(1999));
  EXPECT_THAT(sides.chosen_derivatives, Each(-1));
  EXPECT_EQ(dpo_loss({PreferenceLoss::sigmoid, 1, 0}, sides.pair(-2003, -3), 1).loss, 0);
  EXPECT_THAT(sides.chosen_derivatives, Each(0));
  // e^-40 is lost beside 1, but it is the loss.
  EXPECT_THAT(dpo_loss({PreferenceLoss::sigmoid, 1, 0}, sides.pair(-42, -3), 1).loss, DoubleEq(std::exp(-40.0)));
}

TEST(Preference, ATieIsNoSuccess) {
  TwoSides sides;
  EXPECT_EQ(dpo_loss({}, sides.pair(-3, -4), 1).accuracy, 0);
}

// By hand: rewards of a group.

TEST(Advantages, AreDistancesFromTheMeanInStandardDeviations) {
  // The sample's deviation of 1, 2, 3 is 1, that of the three alone would be 0.82.
  EXPECT_THAT(advantages(std::vector{1.0, 2.0, 3.0}, true),
              ElementsAre(DoubleEq(-1 / 1.0001), 0, DoubleEq(1 / 1.0001)));
  EXPECT_THAT(advantages(std::vector{1.0, 2.0, 3.0}, false), ElementsAre(-1, 0, 1));
}

TEST(Advantages, OfEqualRewardsAreExactlyZero) {
  // Three times 0.1 is not 0.3 in binary.
  for (const bool scaled : {true, false}) {
    EXPECT_THAT(advantages(std::vector(3, 0.1), scaled), Each(0)) << scaled;
    EXPECT_THAT(advantages(std::vector(7, -1e9 / 3), scaled), Each(0)) << scaled;
    EXPECT_THAT(advantages(std::vector{5.0}, scaled), ElementsAre(0)) << scaled;
  }
  EXPECT_TRUE(advantages({}, true).empty());
}

TEST(Advantages, MayBeInTheDeviationOfMoreRewards) {
  EXPECT_THAT(advantages_in(4, std::vector{1.0, 2.0, 6.0}),
              ElementsAre(DoubleEq(-2 / 4.0001), DoubleEq(-1 / 4.0001), DoubleEq(3 / 4.0001)));
  EXPECT_THAT(advantages_in(4, std::vector(3, 0.1)), Each(0));
}

TEST(Advantages, ARewardThatIsNoNumberHidesNowhere) {
  EXPECT_THAT(advantages(std::vector{1.0, std::nan(""), 1.0}, true), Each(IsNan()));
  EXPECT_THAT(advantages(std::vector{1.0, std::nan(""), 1.0}, false), Each(IsNan()));
}

TEST(RewardsOfABatch, AreTheSameHoweverTheyArePutTogether) {
  const std::vector<double> values{4, 7, 13, 16, 1e6, -3};
  Rewards whole;
  for (const double value : values) whole.add(value);
  for (std::size_t cut = 0; cut <= values.size(); ++cut) {
    Rewards first, second;
    for (std::size_t i = 0; i < values.size(); ++i) (i < cut ? first : second).add(values[i]);
    second.add(first);
    EXPECT_EQ(second.count, 6);
    EXPECT_NEAR(second.mean, whole.mean, 1e-9);
    EXPECT_NEAR(second.deviation().value(), whole.deviation().value(), 1e-9);
  }
  Rewards four;
  for (const double value : {4, 7, 13, 16}) four.add(value);
  // Distances from 10 are 6, 3, 3, 6: their squares add up to 90.
  EXPECT_THAT(four.mean, DoubleEq(10));
  EXPECT_THAT(four.deviation().value(), DoubleEq(std::sqrt(30)));
}

TEST(RewardsOfABatch, OneAloneHasNoDeviation) {
  Rewards rewards;
  EXPECT_EQ(rewards.deviation(), std::nullopt);
  rewards.add(3);
  EXPECT_EQ(rewards.mean, 3);
  EXPECT_EQ(rewards.deviation(), std::nullopt);
  rewards.add(3);
  EXPECT_EQ(rewards.deviation(), 0);
}

// By hand: GRPO.

/// The loss of one token alone and its derivative.
struct Token {
  GrpoShare share;
  float derivative = 0;
};

Token token_of(double advantage, double ratio, GrpoSettings settings = {}, double lost = 0) {
  const Floats logprobs{-1}, old{-1 - logarithm(ratio)}, reference{static_cast<float>(-1 + lost)};
  Floats derivatives(1);
  const Sampled completion{logprobs, old, reference, advantage, derivatives};
  const GrpoShare share = grpo_loss(settings, completion, {.completions = 1, .tokens = 1, .step_tokens = 1});
  return {share, derivatives[0]};
}

/// Log-probabilities are floats, so ratios are as near as that.
constexpr double kFloat = 1e-6;

TEST(Group, AtARatioOfOneTheDerivativeIsThatOfTheRatioTimesTheAdvantage) {
  // Both branches of the minimum are the same there.
  for (const double advantage : {2.0, -3.0, 0.0}) {
    const Token token = token_of(advantage, 1);
    EXPECT_EQ(token.share.loss, -advantage);
    EXPECT_EQ(token.derivative, -advantage);
    EXPECT_EQ(token.share.clipped(), 0);
  }
}

TEST(Group, WithoutOldLogProbabilitiesTheRatioIsOne) {
  Floats derivatives(2);
  const GrpoShare share = grpo_loss({}, {Floats{-1, -7}, {}, {}, 1.5, derivatives}, {.completions = 1, .tokens = 2});
  EXPECT_EQ(share.loss, -1.5);
  EXPECT_THAT(derivatives, Each(-0.75F));
}

TEST(Group, WhatMovedFarEnoughTheRightWayTeachesNoMore) {
  const Token high = token_of(2, 1.5);
  EXPECT_NEAR(high.share.loss, -1.2 * 2, kFloat);
  EXPECT_EQ(high.derivative, 0);
  EXPECT_EQ(high.share.clipped_high, 1);
  EXPECT_EQ(high.share.clipped_low, 0);
  const Token low = token_of(-2, 0.5);
  EXPECT_NEAR(low.share.loss, 0.8 * 2, kFloat);
  EXPECT_EQ(low.derivative, 0);
  EXPECT_EQ(low.share.clipped_low, 1);
  EXPECT_EQ(low.share.clipped_high, 0);
}

TEST(Group, WhatMovedTheWrongWayIsNeverClipped) {
  const Token high = token_of(-2, 1.5);
  EXPECT_NEAR(high.share.loss, 1.5 * 2, kFloat);
  EXPECT_NEAR(high.derivative, 1.5 * 2, kFloat);
  EXPECT_EQ(high.share.clipped(), 0);
  const Token low = token_of(2, 0.5);
  EXPECT_NEAR(low.share.loss, -0.5 * 2, kFloat);
  EXPECT_NEAR(low.derivative, -0.5 * 2, kFloat);
  EXPECT_EQ(low.share.clipped(), 0);
}

TEST(Group, EachSideHasItsOwnBound) {
  GrpoSettings settings;
  settings.epsilon_low = 0.1;
  settings.epsilon_high = 0.3;
  EXPECT_NEAR(token_of(1, 1.25, settings).share.loss, -1.25, kFloat);
  EXPECT_NEAR(token_of(1, 1.5, settings).share.loss, -1.3, kFloat);
  EXPECT_NEAR(token_of(-1, 0.95, settings).share.loss, 0.95, kFloat);
  EXPECT_NEAR(token_of(-1, 0.85, settings).share.loss, 0.9, kFloat);
}

TEST(Group, ARatioMayHaveABoundWhereTheAdvantageIsBelowZero) {
  GrpoSettings settings;
  settings.delta = 4;
  const Token within = token_of(-2, 3, settings), beyond = token_of(-2, 7, settings);
  EXPECT_NEAR(within.share.loss, 3 * 2, 3 * kFloat);
  EXPECT_NEAR(within.derivative, 3 * 2, 3 * kFloat);
  EXPECT_NEAR(beyond.share.loss, 4 * 2, kFloat);
  EXPECT_EQ(beyond.derivative, 0);
  EXPECT_EQ(beyond.share.clipped(), 0) << "as TRL counts";
  EXPECT_NEAR(token_of(2, 7, settings).share.loss, -1.2 * 2, kFloat) << "above 0 it is bounded anyway";
}

TEST(Group, OfSeveralStepsOfAGenerationDapoDividesByTheMeanOfTheirTokens) {
  // Three tokens with an advantage of 1.5, in a step of 3 tokens of a generation of 8 over two steps.
  Floats derivatives(3);
  const GrpoShare share =
      grpo_loss({}, {Floats{-1, -7, -2}, {}, {}, 1.5, derivatives}, {.completions = 1, .tokens = 3, .mean_tokens = 4});
  EXPECT_DOUBLE_EQ(share.loss, -1.5 * 3 / 4);
  EXPECT_THAT(derivatives, Each(-1.5F / 4));
}

TEST(Group, TheReferenceDrawsBack) {
  GrpoSettings settings;
  settings.beta = 0.5;
  // The reference has the token twice as likely: 2 - log 2 - 1, and a derivative of 1 - 2.
  const Token token = token_of(0, 1, settings, kLogTwo);
  EXPECT_NEAR(token.share.divergence, 1 - kLogTwo, kFloat);
  EXPECT_NEAR(token.share.loss, 0.5 * (1 - kLogTwo), kFloat);
  EXPECT_NEAR(token.derivative, 0.5 * (1 - 2), kFloat);
  // And a clipped token is drawn back too.
  EXPECT_NEAR(token_of(2, 1.5, settings, kLogTwo).derivative, -0.5, kFloat);
}

TEST(Group, TheDivergenceMayCountByTheRatio) {
  GrpoSettings settings;
  settings.beta = 0.5;
  settings.divergence_by_ratio = true;
  // At a ratio of 1 the loss is the same, but its derivative is -log 2 instead of 1 - 2.
  const Token first = token_of(0, 1, settings, kLogTwo);
  EXPECT_NEAR(first.share.loss, 0.5 * (1 - kLogTwo), kFloat);
  EXPECT_NEAR(first.derivative, -0.5 * kLogTwo, kFloat);
  const Token later = token_of(0, 3, settings, kLogTwo);
  EXPECT_NEAR(later.share.divergence, 3 * (1 - kLogTwo), kFloat);
  EXPECT_NEAR(later.share.loss, 0.5 * 3 * (1 - kLogTwo), kFloat);
  EXPECT_NEAR(later.derivative, -0.5 * 3 * kLogTwo, kFloat);
}

/// Completions of 1, 3, 2 and 0 tokens with advantages of 1, -2, 3 and 5, at ratios of 1: their tokens' losses add up
/// to -1, 6, -6 and 0. The first two are in one accumulation step, the others in another.
double loss_by(Aggregation aggregation, std::vector<Floats>& derivatives) {
  GrpoSettings settings;
  settings.aggregation = aggregation;
  settings.max_completion_tokens = 5;
  const std::vector<std::size_t> lengths{1, 3, 2, 0};
  const std::vector<double> advantages{1, -2, 3, 5};
  const std::vector<std::int64_t> step_tokens{4, 4, 2, 2};
  GrpoShare share;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const Floats logprobs(lengths[i], -1);
    Floats& by = derivatives.emplace_back(lengths[i]);
    share += grpo_loss(settings, {logprobs, {}, {}, advantages[i], by},
                       {.completions = 4, .tokens = 6, .steps = 2, .step_tokens = step_tokens[i]});
  }
  return share.loss;
}

TEST(Group, EachAggregationByHand) {
  std::vector<Floats> grpo, bnpo, dr_grpo, dapo;
  EXPECT_THAT(loss_by(Aggregation::grpo, grpo), DoubleEq((-1 + 2 - 3) / 4.0));
  EXPECT_THAT(grpo, ElementsAre(Each(FloatEq(-1.0F / 4)), Each(FloatEq(2.0F / 12)), Each(FloatEq(-3.0F / 8)), Each(0)));
  EXPECT_THAT(loss_by(Aggregation::bnpo, bnpo), DoubleEq(((-1 + 6) / 4.0 - 6 / 2.0) / 2));
  EXPECT_THAT(bnpo, ElementsAre(Each(FloatEq(-1.0F / 8)), Each(FloatEq(2.0F / 8)), Each(FloatEq(-3.0F / 4)), Each(0)));
  EXPECT_THAT(loss_by(Aggregation::dr_grpo, dr_grpo), DoubleEq(-1 / 20.0));
  EXPECT_THAT(dr_grpo,
              ElementsAre(Each(FloatEq(-1.0F / 20)), Each(FloatEq(2.0F / 20)), Each(FloatEq(-3.0F / 20)), Each(0)));
  EXPECT_THAT(loss_by(Aggregation::dapo, dapo), DoubleEq(-1 / 6.0));
  EXPECT_THAT(dapo, ElementsAre(Each(FloatEq(-1.0F / 6)), Each(FloatEq(2.0F / 6)), Each(FloatEq(-3.0F / 6)), Each(0)));
}

// What is not a number.

TEST(Objectives, WhatIsNoNumberMakesTheLossNone) {
  Floats derivatives(2);
  EXPECT_TRUE(std::isnan(likelihood_loss(Floats{-1, kNan}, 2, derivatives)));
  for (const PreferenceLoss loss :
       {PreferenceLoss::sigmoid, PreferenceLoss::robust, PreferenceLoss::hinge, PreferenceLoss::ipo}) {
    TwoSides sides;
    EXPECT_TRUE(std::isnan(dpo_loss({loss, 0.5, 0}, sides.pair(kNan, 0), 1).loss));
    EXPECT_TRUE(std::isnan(dpo_loss({loss, 0.5, 0}, sides.pair(0, kNan), 1).loss));
    sides.rejected[1] = kNan;
    EXPECT_TRUE(std::isnan(dpo_loss({loss, 0.5, 0}, sides.pair(), 1).loss));
  }
  GrpoSettings settings;
  settings.beta = 0.1;
  const Floats good{-1, -2}, bad{-1, kNan};
  const GrpoBatch batch{.completions = 1, .tokens = 2};
  EXPECT_TRUE(std::isnan(grpo_loss(settings, {bad, good, good, 1, derivatives}, batch).loss));
  EXPECT_TRUE(std::isnan(derivatives[1]));
  EXPECT_TRUE(std::isnan(grpo_loss(settings, {bad, {}, good, 1, derivatives}, batch).loss));
  EXPECT_TRUE(std::isnan(grpo_loss(settings, {good, bad, good, 1, derivatives}, batch).loss));
  EXPECT_TRUE(std::isnan(grpo_loss(settings, {good, good, bad, 1, derivatives}, batch).loss));
  EXPECT_TRUE(std::isnan(grpo_loss(settings, {good, good, good, std::nan(""), derivatives}, batch).loss));
  // A token that has become possible only now, of a completion that is worth nothing: infinity times 0.
  EXPECT_TRUE(std::isnan(grpo_loss({}, {good, Floats{-1, -INFINITY}, {}, 0, derivatives}, batch).loss));
}

// Settings.

std::string refusal(const DpoSettings& settings) {
  const auto made = checked(settings);
  return made ? "" : made.error().what;
}
std::string refusal(const GrpoSettings& settings) {
  const auto made = checked(settings);
  return made ? "" : made.error().what;
}

TEST(ObjectiveSettings, ThatMakeNoSenseAreRefused) {
  EXPECT_EQ(refusal(DpoSettings{}), "");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::robust, 0.1, 0.49}), "");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::ipo, 0, 0}), "dpo: beta is 0, expected a number above 0");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::ipo, std::nan(""), 0}), "dpo: beta is nan, expected a number above 0");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::ipo, INFINITY, 0}), "dpo: beta is inf, expected a number above 0");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::robust, 0.1, 0.5}),
            "dpo: label_smoothing is 0.5, expected from 0 to less than 0.5");
  EXPECT_EQ(refusal(DpoSettings{PreferenceLoss::sigmoid, 0.1, 0.1}),
            "dpo: label_smoothing is 0.1, expected 0, as only the loss 'robust' has it");
  EXPECT_EQ(refusal(GrpoSettings{}), "");
  GrpoSettings settings;
  settings.beta = -0.1;
  EXPECT_EQ(refusal(settings), "grpo: beta is -0.1, expected a number from 0");
  settings.beta = INFINITY;
  EXPECT_EQ(refusal(settings), "grpo: beta is inf, expected a number from 0");
  settings = {};
  settings.epsilon_low = 0;
  EXPECT_EQ(refusal(settings), "grpo: epsilon_low is 0, expected a number above 0");
  settings = {};
  settings.epsilon_high = std::nan("");
  EXPECT_EQ(refusal(settings), "grpo: epsilon_high is nan, expected a number above 0");
  settings = {};
  settings.epsilon_high = 0.5;
  settings.delta = 1.5;
  EXPECT_EQ(refusal(settings), "grpo: delta is 1.5, expected 0, or a number above 1 + epsilon_high");
  settings.delta = 1.6;
  EXPECT_EQ(refusal(settings), "");
  settings = {};
  settings.aggregation = Aggregation::dr_grpo;
  EXPECT_EQ(refusal(settings), "grpo: max_completion_tokens is 0, expected a number from 1, as dr_grpo divides by it");
  settings.max_completion_tokens = 1;
  EXPECT_EQ(refusal(settings), "");
}

// Derivatives, against differences of the loss.

/// Multiples of 1/256 down to -8: a step of 2^-14 from one is a float too, so the differences are exact.
Floats random_logprobs(std::mt19937& source, std::size_t count) {
  Floats made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(-static_cast<float>(source() % 2048 + 1) / 256);
  return made;
}

/// Near those, within 0.5 of them.
Floats near(const Floats& logprobs, std::mt19937& source) {
  Floats made = logprobs;
  for (float& value : made) value += (static_cast<float>(source() % 256) - 128) / 256;
  return made;
}

/// Holds `derivatives` to differences of `loss`, which is asked with each of `logprobs` moved.
void compare_differences(const std::function<double()>& loss, Floats& logprobs, const Floats& derivatives) {
  constexpr float kStep = 1.0F / 16384;
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    const float kept = logprobs[i];
    const auto at = [&](float steps) {
      logprobs[i] = kept + steps * kStep;
      return loss();
    };
    // Of fourth order: what is left out is some 1e-17.
    const double slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * static_cast<double>(kStep));
    logprobs[i] = kept;
    const auto derivative = static_cast<double>(derivatives[i]);
    EXPECT_NEAR(derivative, slope, 1e-7 * std::abs(slope) + 1e-10) << "token " << i;
  }
}

TEST(Derivatives, OfTheLikelihoodAreThoseOfItsLoss) {
  std::mt19937 source(1);
  Floats logprobs = random_logprobs(source, 9), derivatives(9), others(9);
  likelihood_loss(logprobs, 31, derivatives);
  compare_differences([&] { return likelihood_loss(logprobs, 31, others); }, logprobs, derivatives);
}

TEST(Derivatives, OfEveryPreferenceLossAreThoseOfItsLoss) {
  std::mt19937 source(2);
  for (const DpoSettings& settings : std::vector<DpoSettings>{{PreferenceLoss::sigmoid, 0.1, 0},
                                                              {PreferenceLoss::sigmoid, 3, 0},
                                                              {PreferenceLoss::robust, 0.3, 0.2},
                                                              {PreferenceLoss::robust, 1, 0.45},
                                                              {PreferenceLoss::hinge, 0.1, 0},
                                                              {PreferenceLoss::hinge, 3, 0},
                                                              {PreferenceLoss::ipo, 0.1, 0},
                                                              {PreferenceLoss::ipo, 2, 0}}) {
    for (int pair = 0; pair < 5; ++pair) {
      SCOPED_TRACE(testing::Message() << "loss " << static_cast<int>(settings.loss) << ", beta " << settings.beta
                                      << ", pair " << pair);
      Floats chosen = random_logprobs(source, 1 + source() % 9), rejected = random_logprobs(source, 1 + source() % 9);
      const double chosen_reference = summed(near(chosen, source)), rejected_reference = summed(near(rejected, source));
      const auto loss = [&](Floats& chosen_derivatives, Floats& rejected_derivatives) {
        chosen_derivatives.resize(chosen.size());
        rejected_derivatives.resize(rejected.size());
        return dpo_loss(settings,
                        {{chosen, chosen_reference, chosen_derivatives},
                         {rejected, rejected_reference, rejected_derivatives}},
                        3)
            .loss;
      };
      Floats by_chosen, by_rejected, others, more;
      loss(by_chosen, by_rejected);
      compare_differences([&] { return loss(others, more); }, chosen, by_chosen);
      compare_differences([&] { return loss(others, more); }, rejected, by_rejected);
    }
  }
}

TEST(Derivatives, OfEveryAggregationAreThoseOfItsLoss) {
  std::mt19937 source(3);
  double clipped = 0;
  const auto compare = [&](const GrpoSettings& settings, double advantage) {
    SCOPED_TRACE(testing::Message() << "aggregation " << static_cast<int>(settings.aggregation) << ", beta "
                                    << settings.beta << ", advantage " << advantage);
    Floats logprobs = random_logprobs(source, 12), derivatives(12), others(12);
    const Floats old = near(logprobs, source), reference = near(logprobs, source);
    const auto share = [&](Floats& into) {
      return grpo_loss(settings, {logprobs, old, reference, advantage, into},
                       {.completions = 5, .tokens = 77, .steps = 3, .step_tokens = 29});
    };
    clipped += share(derivatives).clipped();
    compare_differences([&] { return share(others).loss; }, logprobs, derivatives);
  };
  // The bounds' logarithms are no multiples of 1/256: no step crosses one.
  for (const Aggregation aggregation : {Aggregation::grpo, Aggregation::bnpo, Aggregation::dr_grpo, Aggregation::dapo})
    for (const double beta : {0.0, 0.04, 2.0})
      for (const bool by_ratio : {false, true})
        for (const double advantage : {1.7, -0.6, 0.0})
          for (const double delta : {0.0, 1.4}) compare({aggregation, beta, 0.2, 0.28, by_ratio, 40, delta}, advantage);
  EXPECT_GT(clipped, 0);
}

// Against TRL.

json recorded(const std::string& section) {
  std::ifstream file(test::source_dir() / "tests/train/data/objectives.json");
  return json::parse(file).at(section);
}

/// Of derivatives, which are floats and recorded to ten digits.
MATCHER(Rounded, "") {
  const auto got = static_cast<double>(std::get<0>(arg)), wanted = std::get<1>(arg);
  return std::abs(got - wanted) <= 1e-7 * std::abs(wanted) + 1e-12;
}

void expect_derivatives(const Floats& got, const json& completion) {
  EXPECT_THAT(got, Pointwise(Rounded(), completion.at("derivatives").get<std::vector<double>>()));
}

void expect_loss(double got, const json& wanted) {
  EXPECT_NEAR(got, wanted.get<double>(), kRounding * std::max(1.0, std::abs(got)));
}

/// TRL takes some of its means in single precision.
constexpr double kMean = 1e-6;

TEST(AgainstTrl, TheLikelihoodIsTheSame) {
  const json cases = recorded("likelihood");
  EXPECT_EQ(cases.size(), 4U);
  for (const json& each : cases) {
    SCOPED_TRACE(each.at("name"));
    double loss = 0;
    for (const json& completion : each.at("completions")) {
      const Floats logprobs = completion.at("logprobs");
      Floats derivatives(logprobs.size());
      loss += likelihood_loss(logprobs, each.at("tokens"), derivatives);
      expect_derivatives(derivatives, completion);
    }
    expect_loss(loss, each.at("loss"));
  }
}

TEST(AgainstTrl, PreferencesAreTheSame) {
  const std::map<std::string, PreferenceLoss> losses{{"sigmoid", PreferenceLoss::sigmoid},
                                                     {"robust", PreferenceLoss::robust},
                                                     {"hinge", PreferenceLoss::hinge},
                                                     {"ipo", PreferenceLoss::ipo}};
  const json cases = recorded("dpo");
  EXPECT_EQ(cases.size(), 24U);
  for (const json& each : cases) {
    SCOPED_TRACE(each.at("name"));
    const auto settings = checked(DpoSettings{losses.at(each.at("loss_type")), each.at("beta").get<double>(),
                                              each.at("label_smoothing").get<double>()});
    ASSERT_TRUE(settings) << settings.error().what;
    DpoShare share;
    for (const json& pair : each.at("pairs")) {
      const Floats chosen = pair.at("chosen").at("logprobs"), rejected = pair.at("rejected").at("logprobs");
      const Floats chosen_reference = pair.at("chosen").at("reference");
      const Floats rejected_reference = pair.at("rejected").at("reference");
      Floats by_chosen(chosen.size()), by_rejected(rejected.size());
      share +=
          dpo_loss(*settings,
                   {{chosen, summed(chosen_reference), by_chosen}, {rejected, summed(rejected_reference), by_rejected}},
                   static_cast<std::int64_t>(each.at("pairs").size()));
      expect_derivatives(by_chosen, pair.at("chosen"));
      expect_derivatives(by_rejected, pair.at("rejected"));
    }
    expect_loss(share.loss, each.at("loss"));
    if (!each.contains("metrics")) continue;
    const json& metrics = each.at("metrics");
    EXPECT_NEAR(share.chosen_reward, metrics.at("rewards/chosen").get<double>(), kMean);
    EXPECT_NEAR(share.rejected_reward, metrics.at("rewards/rejected").get<double>(), kMean);
    EXPECT_NEAR(share.margin, metrics.at("rewards/margins").get<double>(), kMean);
    EXPECT_NEAR(share.accuracy, metrics.at("rewards/accuracies").get<double>(), kMean);
  }
}

struct GrpoCase {
  GrpoSettings settings;
  std::vector<GrpoBatch> batches;  ///< of each optimiser step of the generation
  std::vector<Floats> logprobs;
  std::vector<std::int64_t> step_tokens;  ///< of the accumulation step of each completion

  /// The optimiser step that has the completion.
  std::size_t step_of(std::size_t completion) const { return completion * batches.size() / logprobs.size(); }
};

GrpoCase read_group(const json& from) {
  const std::map<std::string, Aggregation> aggregations{{"grpo", Aggregation::grpo},
                                                        {"bnpo", Aggregation::bnpo},
                                                        {"dr_grpo", Aggregation::dr_grpo},
                                                        {"dapo", Aggregation::dapo}};
  GrpoCase made;
  made.settings.aggregation = aggregations.at(from.at("aggregation"));
  from.at("beta").get_to(made.settings.beta);
  from.at("epsilon_low").get_to(made.settings.epsilon_low);
  from.at("epsilon_high").get_to(made.settings.epsilon_high);
  from.at("corrected").get_to(made.settings.divergence_by_ratio);
  from.at("max_completion_tokens").get_to(made.settings.max_completion_tokens);
  made.settings.delta = from.value("delta", 0.0);
  made.batches.resize(from.value("generation", std::size_t{1}));
  const std::size_t steps = from.at("steps"), parts = steps * made.batches.size();
  for (const json& completion : from.at("completions")) made.logprobs.push_back(completion.at("logprobs"));
  const std::size_t part = made.logprobs.size() / parts;
  std::vector<std::int64_t> tokens(parts);
  for (std::size_t i = 0; i < made.logprobs.size(); ++i)
    tokens[i / part] += static_cast<std::int64_t>(made.logprobs[i].size());
  double all = 0;
  for (std::size_t i = 0; i < made.logprobs.size(); ++i) {
    made.step_tokens.push_back(tokens[i / part]);
    GrpoBatch& batch = made.batches[made.step_of(i)];
    batch.steps = static_cast<std::int64_t>(steps);
    ++batch.completions;
    batch.tokens += static_cast<std::int64_t>(made.logprobs[i].size());
    all += static_cast<double>(made.logprobs[i].size());
  }
  if (made.batches.size() > 1)
    for (GrpoBatch& batch : made.batches) batch.mean_tokens = all / static_cast<double>(made.batches.size());
  return made;
}

std::vector<double> advantages_of(const json& from) {
  const std::vector<double> rewards = from.at("rewards");
  const std::size_t size = from.at("group");
  Rewards batch;
  for (const double reward : rewards) batch.add(reward);
  std::vector<double> all;
  for (std::size_t first = 0; first < rewards.size(); first += size) {
    const auto of = std::span(rewards).subspan(first, size);
    const auto group = from.at("scaled") == "batch" ? advantages_in(batch.deviation().value(), of)
                                                    : advantages(of, from.at("scaled").get<bool>());
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

void compare_group(const json& from) {
  GrpoCase group = read_group(from);
  ASSERT_TRUE(checked(group.settings));
  const std::vector<double> all = advantages_of(from);
  EXPECT_THAT(all, Pointwise(testing::DoubleNear(kRounding), from.at("advantages").get<std::vector<double>>()));
  std::vector<GrpoShare> shares(group.batches.size());
  Rewards rewards;
  for (std::size_t i = 0; i < group.logprobs.size(); ++i) {
    SCOPED_TRACE(i);
    const json& completion = from.at("completions").at(i);
    const Floats old = completion.value("old", Floats{}), reference = completion.value("reference", Floats{});
    Floats derivatives(group.logprobs[i].size());
    GrpoBatch& batch = group.batches[group.step_of(i)];
    batch.step_tokens = group.step_tokens[i];
    shares[group.step_of(i)] +=
        grpo_loss(group.settings, {group.logprobs[i], old, reference, all[i], derivatives}, batch);
    expect_derivatives(derivatives, completion);
    rewards.add(from.at("rewards").at(i).get<double>());
  }
  const json& loss = from.at("loss");
  for (std::size_t step = 0; step < shares.size(); ++step)
    expect_loss(shares[step].loss, loss.is_array() ? loss.at(step) : loss);
  if (!from.contains("metrics")) return;
  const GrpoShare& share = shares[0];
  const json& metrics = from.at("metrics");
  EXPECT_NEAR(share.divergence, metrics.value("kl", 0.0), kMean);
  EXPECT_NEAR(share.clipped_low, metrics.at("clip_ratio/low_mean").get<double>(), kMean);
  EXPECT_NEAR(share.clipped_high, metrics.at("clip_ratio/high_mean").get<double>(), kMean);
  EXPECT_NEAR(rewards.mean, metrics.at("reward").get<double>(), kMean);
  if (from.at("scaled") != "batch")
    EXPECT_NEAR(rewards.deviation().value(), metrics.at("reward_std").get<double>(), kMean);
}

TEST(AgainstTrl, GroupsAreTheSame) {
  const json cases = recorded("grpo");
  EXPECT_EQ(cases.size(), 68U);
  for (const json& each : cases) {
    SCOPED_TRACE(each.at("name"));
    compare_group(each);
  }
}

}  // namespace
}  // namespace orch::train
