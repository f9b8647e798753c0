#include "train/stability.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "base/split_mix.h"
#include "train/loss_scale.h"

namespace orch::train {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

/// A training in which nothing happens: losses of 1.9 and 2.1 in turn, norms of 0.5.
StabilityState after_calm(std::int64_t steps) {
  StabilityState state;
  for (std::int64_t step = 0; step < steps; ++step) state = judge(state, {step, step % 2 == 0 ? 1.9 : 2.1, 0.5}).state;
  return state;
}

TEST(Stability, GoesOnWhileNothingHappens) {
  const StabilityState state = after_calm(1000);
  EXPECT_EQ(state.losses.size(), 64U);
  EXPECT_EQ(state.norms.size(), 64U);
  EXPECT_EQ(state.rate_factor, 1);
  const Verdict verdict = judge(state, {1000, 2.3, 0.9});
  EXPECT_EQ(verdict.deed, Deed::kGoOn);
  EXPECT_EQ(verdict.reason, "");
  EXPECT_EQ(verdict.state.losses.back(), 2.3);
}

// Noise as wide as fine-tuning has it, falling from 3 to 1, norms that scatter by a factor of ten: 20 runs of 2,000
// steps, and no false alarm.
TEST(Stability, LetsTheNoiseOfSmallBatchesPass) {
  SplitMix64 random(1);
  const auto unit = [&] { return static_cast<double>(random.next() >> 11) * 0x1p-53; };
  for (int run = 0; run < 20; ++run) {
    StabilityState state;
    for (std::int64_t step = 0; step < 2000; ++step) {
      const double level = 1 + 2 * std::exp(-static_cast<double>(step) / 300);
      const double noise = 0.35 * std::sqrt(-2 * std::log(unit() + 1e-300)) * std::cos(6.283185307179586 * unit());
      const Verdict verdict = judge(state, {step, level * (1 + noise), 0.3 * std::pow(10, unit())});
      ASSERT_EQ(verdict.deed, Deed::kGoOn) << verdict.reason;
      state = verdict.state;
    }
  }
}

// Learnt by heart, but for a sample now and then: 0.01 + 8 · 0.02 = 0.17.
TEST(Stability, LetsANewSampleAmongKnownOnesPass) {
  StabilityState state;
  for (std::int64_t step = 0; step < 100; ++step) state = judge(state, {step, 0.01, 0.1}).state;
  EXPECT_EQ(judge(state, {100, 0.16, 0.1}).deed, Deed::kGoOn);
  EXPECT_EQ(judge(state, {100, 0.18, 0.1}).deed, Deed::kRollBack);
}

TEST(Stability, SkipsWhatIsNoNumberAndGivesUpAfterFiveInARow) {
  StabilityState state = after_calm(100);
  const auto losses = state.losses;
  for (std::int64_t step = 100; step < 105; ++step) {
    const Verdict verdict = judge(state, {step, step % 2 == 0 ? kNan : 2.0, step % 2 == 0 ? 0.5 : kInf});
    EXPECT_EQ(verdict.deed, Deed::kSkip);
    EXPECT_EQ(verdict.failure, Failure::kNone);
    state = verdict.state;
  }
  EXPECT_EQ(state.losses, losses) << "a step that was skipped is in no mean";
  const Verdict end = judge(state, {105, kNan, 0.5});
  EXPECT_EQ(end.deed, Deed::kStop);
  EXPECT_EQ(end.failure, Failure::kNan);
  EXPECT_EQ(name_of(end.failure), "nan");
  EXPECT_EQ(end.reason, "step 105: the loss is nan; 5 steps before it were skipped, and no more are");
  // One good step between them, and they are counted anew.
  state = judge(state, {105, 2.0, 0.5}).state;
  EXPECT_EQ(judge(state, {106, kNan, 0.5}).deed, Deed::kSkip);
}

TEST(Stability, SkipsInTheVeryFirstSteps) { EXPECT_EQ(judge({}, {0, kNan, kNan}).deed, Deed::kSkip); }

TEST(Stability, GoesBackFromASpikeWithHalfTheRate) {
  const StabilityState state = after_calm(100);
  const Verdict verdict = judge(state, {100, 7.31, 0.5});
  EXPECT_EQ(verdict.deed, Deed::kRollBack);
  EXPECT_EQ(verdict.state.rate_factor, 0.5);
  EXPECT_EQ(verdict.state.rollbacks, 1);
  EXPECT_EQ(verdict.state.losses, state.losses) << "a spike is in no mean";
  // The sd of 32 times 1.9 and 2.1 is 0.1 · sqrt(64 / 63) = 0.1008.
  EXPECT_EQ(
      verdict.reason,
      "step 100: the loss is 7.31, where the last 64 steps had 2 ± 0.101; back to the last good state, from there "
      "with 0.5 of the rate (1 of at most 3 times)");
  const Verdict of_norm = judge(state, {100, 2.0, 15.1});
  EXPECT_EQ(of_norm.deed, Deed::kRollBack);
  EXPECT_THAT(of_norm.reason, HasSubstr("the gradient's norm is 15.1, where the last 64 steps had 0.5 in the middle"));
  EXPECT_EQ(judge(state, {100, 2.0, 14.9}).deed, Deed::kGoOn);
}

// 2.0 ± 0.1008: 8 deviations above is 2.806.
TEST(Stability, MeansByFarWhatItsRulesSay) {
  const StabilityState state = after_calm(100);
  EXPECT_EQ(judge(state, {100, 2.80, 0.5}).deed, Deed::kGoOn);
  EXPECT_EQ(judge(state, {100, 2.82, 0.5}).deed, Deed::kRollBack);
  EXPECT_EQ(judge(after_calm(31), {31, 100.0, 100.0}).deed, Deed::kGoOn) << "too few steps to judge by";
  EXPECT_EQ(judge(after_calm(32), {32, 100.0, 100.0}).deed, Deed::kRollBack);
  StabilityRules off;
  off.deviations = off.norm_times = 0;
  EXPECT_EQ(judge(state, {100, 100.0, 100.0}, off).deed, Deed::kGoOn);
  // Norms of 0.5: above 15, and above what is clipped.
  StabilityRules clipped;
  clipped.least_norm = 20;
  EXPECT_EQ(judge(state, {100, 2.0, 19.9}, clipped).deed, Deed::kGoOn);
  EXPECT_EQ(judge(state, {100, 2.0, 20.1}, clipped).deed, Deed::kRollBack);
  clipped.least_norm = 1;
  EXPECT_EQ(judge(state, {100, 2.0, 14.9}, clipped).deed, Deed::kGoOn);
  EXPECT_EQ(judge(state, {100, 2.0, 15.1}, clipped).deed, Deed::kRollBack);
}

TEST(Stability, HasTheMeansOfTheGoodStateWhenItIsBack) {
  const StabilityState good = after_calm(75);
  const Verdict verdict = judge(after_calm(100), {100, 9.0, 0.5});
  const StabilityState back = after_rollback(good, verdict.state);
  EXPECT_EQ(back.losses, good.losses);
  EXPECT_EQ(back.norms, good.norms);
  EXPECT_EQ(back.rollbacks, 1);
  EXPECT_EQ(back.rate_factor, 0.5);
  EXPECT_EQ(back.spiked_at, 100);
}

TEST(Stability, LeavesOutAStepThatSpikesAgainAfterGoingBack) {
  StabilityState state = after_rollback(after_calm(75), judge(after_calm(100), {100, 9.0, 0.5}).state);
  for (std::int64_t step = 75; step < 100; ++step) state = judge(state, {step, 2.0, 0.5}).state;
  const Verdict verdict = judge(state, {100, 9.0, 0.5});
  EXPECT_EQ(verdict.deed, Deed::kSkip);
  EXPECT_THAT(verdict.reason,
              HasSubstr("again after the run went back; the step is skipped (1 of at most 5 in a row)"));
  EXPECT_EQ(judge(verdict.state, {101, 9.0, 0.5}).deed, Deed::kRollBack) << "the next step is not that one";
}

TEST(Stability, EndsARunThatGoesBackTooOften) {
  StabilityState state = after_calm(100);
  for (int times = 1; times <= 3; ++times) {
    const Verdict verdict = judge(state, {100 + times, 9.0, 0.5});
    ASSERT_EQ(verdict.deed, Deed::kRollBack);
    state = after_rollback(state, verdict.state);
  }
  EXPECT_EQ(state.rate_factor, 0.125);
  const Verdict end = judge(state, {110, 9.0, 0.5});
  EXPECT_EQ(end.deed, Deed::kStop);
  EXPECT_EQ(name_of(end.failure), "diverged");
  EXPECT_THAT(end.reason, HasSubstr("the run went back 3 times, and does no more"));
}

TEST(Stability, ComesBackFromJsonBitForBit) {
  StabilityState state = after_calm(10);
  state.losses[3] = 1.0 / 3;
  state.norms[4] = 5e-324;
  state.losses[5] = -0.0;
  state.rollbacks = 2;
  state.spiked_at = 1'000'000'007;
  state.rate_factor = 0.1 + 0.2;
  const auto back = read_stability_state(nlohmann::json::parse(json_of(state).dump()));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(*back, state);
  EXPECT_TRUE(std::signbit(back->losses[5]));
  // And the runs go on alike.
  EXPECT_EQ(judge(*back, {10, 1.7, 0.4}).state, judge(state, {10, 1.7, 0.4}).state);
  EXPECT_FALSE(read_stability_state(nlohmann::json::array()));
  nlohmann::json torn = json_of(state);
  torn["norms"].erase(0);
  EXPECT_FALSE(read_stability_state(torn));
}

TEST(LossScale, HalvesOnOverflowAndDoublesAfterTwoThousandGoodSteps) {
  LossScale state;
  EXPECT_EQ(state.scale, 65536);
  state = after_step(state, true);
  EXPECT_EQ(state, (LossScale{32768, 0}));
  for (int i = 0; i < 1999; ++i) state = after_step(state, false);
  EXPECT_EQ(state, (LossScale{32768, 1999}));
  state = after_step(state, false);
  EXPECT_EQ(state, (LossScale{65536, 0}));
  for (int i = 0; i < 1000; ++i) state = after_step(state, false);
  EXPECT_EQ(after_step(state, true), (LossScale{32768, 0})) << "good steps are counted anew";
}

TEST(LossScale, StaysWithinItsBoundsAndExcusesNothingAtTheLeast) {
  LossScale state;
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(excuses(state));
    state = after_step(state, true);
  }
  EXPECT_EQ(state.scale, 1);
  EXPECT_FALSE(excuses(state));
  EXPECT_EQ(after_step(state, true).scale, 1);
  for (int i = 0; i < 100 * 2000; ++i) state = after_step(state, false);
  EXPECT_EQ(state.scale, 16777216);
}

TEST(LossScale, ComesBackFromJson) {
  const LossScale state{4096, 1234};
  const auto back = read_loss_scale(nlohmann::json::parse(json_of(state).dump()));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, state);
  EXPECT_FALSE(read_loss_scale({{"scale", true}}));
}

}  // namespace
}  // namespace orch::train
