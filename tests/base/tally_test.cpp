#include "base/tally.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace orch {
namespace {

Tally of(const std::vector<double>& scores) {
  Tally tally;
  for (const double score : scores) tally.add(score);
  return tally;
}

TEST(Tallies, AreTheMeanAndItsErrorAsStatisticsHasThem) {
  // By hand: mean 0.5; squared distances 0.25 four times, over 3, is 1/3; over 4, its root.
  const Mean mean = of({0, 1, 1, 0}).mean();
  EXPECT_EQ(mean.value, 0.5);
  EXPECT_EQ(mean.samples, 4);
  EXPECT_DOUBLE_EQ(mean.standard_error.value(), std::sqrt(1.0 / 3 / 4));
  EXPECT_FALSE(of({1}).mean().standard_error);
  EXPECT_TRUE(std::isnan(Tally().mean().value));
  EXPECT_EQ(of({1, 1, 1}).mean().standard_error, 0);
}

TEST(Tallies, AreTheSameHoweverScoresWereAdded) {
  std::mt19937 random(3);
  std::vector<double> scores(1000);
  for (double& score : scores) score = std::uniform_real_distribution<double>(0, 1)(random);
  const Tally whole = of(scores);
  double sum = 0;
  for (const double score : scores) sum += score;
  EXPECT_NEAR(whole.mean().value, sum / 1000, 2e-11);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(scores.begin(), scores.end(), random);
    const auto cut = scores.begin() + static_cast<std::ptrdiff_t>(random() % 1000);
    Tally parts = of({scores.begin(), cut});
    parts.add(of({cut, scores.end()}));
    EXPECT_EQ(parts, whole);
  }
}

TEST(Tallies, OfTenMillionSamplesDoNotOverflow) {
  Tally tally;
  tally.add(1);
  for (int doubled = 0; doubled < 23; ++doubled) tally.add(Tally(tally));
  tally.add(0);
  // 2^23 ones and a zero.
  const double n = 8388609;
  EXPECT_DOUBLE_EQ(tally.mean().value, (n - 1) / n);
  EXPECT_NEAR(tally.mean().standard_error.value(), 1 / n, 1e-15);
}

TEST(Tallies, OfPartsHaveThePooledError) {
  // Variances 1/3 and 1/2 of 4 and 2 samples: (3/3 + 1/2) / (6 - 2) / 6.
  const Mean whole = pooled({{"a", of({0, 1, 1, 0})}, {"b", of({1, 0})}});
  EXPECT_EQ(whole.value, 0.5);
  EXPECT_EQ(whole.samples, 6);
  EXPECT_DOUBLE_EQ(whole.standard_error.value(), std::sqrt(1.5 / 4 / 6));
  EXPECT_FALSE(pooled({{"a", of({0, 1})}, {"b", of({1})}}).standard_error);
  EXPECT_EQ(pooled({{"", of({0, 1, 1, 0})}}).standard_error, of({0, 1, 1, 0}).mean().standard_error);
}

}  // namespace
}  // namespace orch
