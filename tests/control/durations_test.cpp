// What is learned from the seconds that cells took.
#include "control/durations.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "sim/clock.h"

namespace orch::control {
namespace {

using testing::DoubleEq;
using testing::Optional;

constexpr Work kWork{7};
constexpr NeedId kNeed{3};

Durations of(const std::vector<double>& seconds, double asked = 100) {
  Durations durations;
  for (const double each : seconds) durations.add(kWork, kNeed, each, asked);
  return durations;
}

TEST(Durations, OfTooFewRunsSayNothing) {
  EXPECT_EQ(of({1, 2}).expected(kWork), std::nullopt);
  EXPECT_THAT(of({1, 9, 2}).expected(kWork), Optional(DoubleEq(2)));
  EXPECT_EQ(of({1, 2, 3, 4}).late(kWork, 0.95), std::nullopt);
  EXPECT_THAT(of({1, 2, 3, 4, 5}).late(kWork, 0.95), Optional(DoubleEq(5)));
  EXPECT_EQ(of({1, 2, 3}).expected(Work{8}), std::nullopt) << "of another work";
  EXPECT_EQ(of({1, 2, 3, 4, 5, 6, 7}, 2).ratio(kNeed), 1) << "seven are too few to speak for others";
  EXPECT_DOUBLE_EQ(of({1, 2, 3, 4, 5, 6, 7, 8}, 2).ratio(kNeed), 2.25) << "4.5 where 2 were asked for";
}

TEST(Durations, MedianAndQuantileAreThoseOfTheBook) {
  EXPECT_THAT(of({10, 1, 3, 2}).expected(kWork), Optional(DoubleEq(2.5)));
  std::vector<double> twenty;
  for (int i = 20; i > 0; --i) twenty.push_back(i);
  EXPECT_THAT(of(twenty).late(kWork, 0.95), Optional(DoubleEq(19))) << "nearest rank: 0.95 × 20";
  EXPECT_THAT(of(twenty).late(kWork, 0.96), Optional(DoubleEq(20)));
  EXPECT_THAT(of(twenty).late(kWork, 0.01), Optional(DoubleEq(1)));
}

TEST(Durations, OnlyTheLastRunsOfAWorkCount) {
  std::vector<double> seconds(40, 1000);
  for (std::size_t i = 0; i < Durations::kOfWork; ++i) seconds.push_back(10);
  EXPECT_THAT(of(seconds).late(kWork, 1), Optional(DoubleEq(10)));
  EXPECT_EQ(of(seconds).runs(kWork), Durations::kOfWork);
}

TEST(Durations, WhatWasNotMeasuredIsNotCounted) {
  for (const double nonsense :
       {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity(), 1e9, std::numeric_limits<double>::max()}) {
    EXPECT_EQ(of({1, 2, nonsense}).expected(kWork), std::nullopt) << nonsense;
    EXPECT_EQ(of({nonsense}).measured(), 0u) << nonsense;
  }
  EXPECT_TRUE(std::isfinite(of(std::vector<double>(8, 1), 0).ratio(kNeed))) << "nothing was expected of it";
}

TEST(Durations, NewsIsAWorkThatBecomesKnown) {
  Durations durations;
  EXPECT_FALSE(durations.add(kWork, kNeed, 1, 1));
  EXPECT_FALSE(durations.add(kWork, kNeed, 1, 1));
  EXPECT_TRUE(durations.add(kWork, kNeed, 1, 1));
  EXPECT_FALSE(durations.add(kWork, kNeed, 1, 1));
  EXPECT_EQ(durations.known(), 1u);
}

/// The same, worked out from the whole window each time.
struct Plain {
  struct Run {
    Work work;
    NeedId need;
    double seconds, asked;
  };
  std::deque<Run> runs;

  template <class Match, class Value>
  std::vector<double> last(std::size_t most, Match match, Value value) const {
    std::vector<double> found;
    for (auto run = runs.rbegin(); run != runs.rend() && found.size() < most; ++run)
      if (match(*run)) found.push_back(static_cast<double>(static_cast<float>(value(*run))));
    std::sort(found.begin(), found.end());
    return found;
  }
  std::vector<double> of_work(Work work) const {
    return last(
        32, [&](const Run& run) { return run.work == work; }, [](const Run& run) { return run.seconds; });
  }
  std::vector<double> of_need(NeedId need) const {
    return last(
        64, [&](const Run& run) { return run.need == need; }, [](const Run& run) { return run.seconds / run.asked; });
  }
  static double median(const std::vector<double>& sorted) {
    const std::size_t n = sorted.size();
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  }
};

TEST(Durations, AreThoseOfTheWindowHoweverLongItGoesOn) {
  sim::Random random(5);
  Durations durations;
  Plain plain;
  // Works of which some come often and some hardly ever, so that they leave the window with few runs and with many.
  for (std::size_t i = 0; i < 2 * Durations::kWindow; ++i) {
    const auto width = random.between(1, 3) == 1 ? 20 : 30'000;
    const Plain::Run run{Work{static_cast<std::uint64_t>(random.between(1, width))},
                         NeedId{static_cast<std::uint32_t>(random.between(0, 40))},
                         static_cast<double>(random.between(1, 1'000'000)) / 1000,
                         static_cast<double>(random.between(1, 1000))};
    durations.add(run.work, run.need, run.seconds, run.asked);
    plain.runs.push_back(run);
    if (plain.runs.size() > Durations::kWindow) plain.runs.pop_front();
    if (i % 9973 != 0) continue;
    for (const std::uint64_t number : {1u, 7u, 20u, 21u, 500u, 12'345u}) {
      const Work work{number};
      const auto sorted = plain.of_work(work);
      ASSERT_EQ(durations.runs(work), sorted.size());
      if (sorted.size() >= 3) {
        ASSERT_THAT(durations.expected(work), Optional(DoubleEq(Plain::median(sorted))));
      }
    }
    for (std::uint32_t need = 0; need < 5; ++need)
      if (const auto sorted = plain.of_need(NeedId{need}); sorted.size() >= 8) {
        ASSERT_DOUBLE_EQ(durations.ratio(NeedId{need}), Plain::median(sorted));
      }
  }
  // Begun anew with the window alone it is the same: what lies before it has left no trace.
  Durations again;
  for (const Plain::Run& run : plain.runs) again.add(run.work, run.need, run.seconds, run.asked);
  EXPECT_EQ(again, durations);
  EXPECT_EQ(durations.measured(), Durations::kWindow);
}

}  // namespace
}  // namespace orch::control
