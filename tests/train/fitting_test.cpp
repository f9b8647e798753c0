#include "train/fitting.h"

#include <gmock/gmock.h>

namespace orch::train {
namespace {

using testing::HasSubstr;

/// A token takes 1,000 bytes; a quarter where layers are computed again.
double bytes_of(const LearnerBounds& pass) { return static_cast<double>(pass.tokens) * (pass.again ? 250.0 : 1000.0); }

FittingAsked asked(double memory) {
  FittingAsked it;
  it.memory = memory;
  it.batch = 4000;
  it.longest = 200;
  it.texts = 20;
  return it;
}

TEST(Fitting, TakesABatchInOnePassWhereThereIsRoom) {
  for (const double memory : {0.0, 4e6}) {
    const auto fitting = fit(asked(memory), bytes_of);
    ASSERT_TRUE(fitting);
    EXPECT_EQ(fitting->pass.tokens, 4000);
    EXPECT_FALSE(fitting->pass.again);
    EXPECT_EQ(fitting->pass.texts, 20);
    EXPECT_EQ(fitting->pass.length, 200);
    EXPECT_THAT(fitting->reasons[0], HasSubstr("4,000 tokens at once"));
  }
}

TEST(Fitting, HalvesBeforeItComputesAnythingAgain) {
  const auto fitting = fit(asked(1.1e6), bytes_of);
  ASSERT_TRUE(fitting);
  EXPECT_EQ(fitting->pass.tokens, 1000);
  EXPECT_FALSE(fitting->pass.again);
  EXPECT_THAT(fitting->reasons[0], HasSubstr("4,000 tokens would not fit"));
}

// 512 tokens would take 512,000 bytes; with layers again 1,000 take 250,000.
TEST(Fitting, ComputesAgainRatherThanInVerySmallPasses) {
  const auto fitting = fit(asked(3e5), bytes_of);
  ASSERT_TRUE(fitting);
  EXPECT_TRUE(fitting->pass.again);
  EXPECT_EQ(fitting->pass.tokens, 1000);
  EXPECT_THAT(fitting->reasons[1], HasSubstr("512 tokens would take"));
}

TEST(Fitting, GoesDownToOneText) {
  const auto fitting = fit(asked(5e4), bytes_of);
  ASSERT_TRUE(fitting);
  EXPECT_EQ(fitting->pass.tokens, 200);
  EXPECT_TRUE(fitting->pass.again);
}

TEST(Fitting, SaysWhatTheLeastWouldTake) {
  const auto none = fit(asked(4e4), bytes_of);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("a text of 200 tokens takes"));
  EXPECT_THAT(none.error().what, HasSubstr("even with layers computed again"));
  FittingAsked pair = asked(9e4);
  pair.together = 2;
  EXPECT_THAT(fit(pair, bytes_of).error().what, HasSubstr("and those judged beside it"));
}

TEST(Fitting, DoesAsItIsTold) {
  FittingAsked it = asked(1e9);
  it.again = true;
  it.most_texts = 3;
  EXPECT_TRUE(fit(it, bytes_of)->pass.again);
  EXPECT_EQ(fit(it, bytes_of)->pass.texts, 3);
  it = asked(3e5);
  it.again = false;
  EXPECT_EQ(fit(it, bytes_of)->pass.tokens, 250) << "smaller than it likes, but never again";
  EXPECT_FALSE(fit(it, bytes_of)->pass.again);
}

}  // namespace
}  // namespace orch::train
