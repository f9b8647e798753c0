#include "train/order.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/split_mix.h"

namespace orch::train {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

std::vector<std::int64_t> random_lengths(SplitMix64& random, std::size_t count) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i < count; ++i) lengths.push_back(static_cast<std::int64_t>(1 + random.below(2000)));
  return lengths;
}

std::vector<std::int64_t> all_of(std::int64_t count) {
  std::vector<std::int64_t> samples(static_cast<std::size_t>(count));
  std::iota(samples.begin(), samples.end(), std::int64_t{0});
  return samples;
}

// The numbers that the generator's author gives for the seed 1234567 are in Rosetta Code's task "Pseudo-random
// numbers/Splitmix64".
TEST(SplitMix64, GivesItsPublishedNumbers) {
  SplitMix64 random(1234567);
  for (const std::uint64_t expected :
       {6457827717110365317U, 3203168211198807973U, 9817491932198370423U, 4593380528125082431U, 16408922859458223821U})
    EXPECT_EQ(random.next(), expected);
}

TEST(SplitMix64, DrawsEachNumberBelowABoundAsOften) {
  SplitMix64 random(1, 2);
  std::map<std::uint64_t, int> seen;
  for (int i = 0; i < 70'000; ++i) ++seen[random.below(7)];
  ASSERT_THAT(seen, SizeIs(7));
  // 10,000 each, give or take six standard deviations of sqrt(70,000 · 1/7 · 6/7) = 93.
  for (const auto& [number, times] : seen) EXPECT_NEAR(times, 10'000, 560) << number;
}

TEST(Order, HasEverySampleOnceInEachEpoch) {
  SplitMix64 random(3);
  for (int round = 0; round < 200; ++round) {
    OrderRules rules;
    rules.batch = static_cast<std::int64_t>(1 + random.below(40));
    rules.seed = random.next();
    rules.group_by_length = round % 2 == 0;
    Order order(random_lengths(random, 1 + random.below(300)), rules);
    const std::int64_t steps = order.steps_of_epoch();
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<std::int64_t> seen;
      for (std::int64_t step = epoch * steps; step < (epoch + 1) * steps; ++step) {
        EXPECT_EQ(order.epoch_of(step), epoch);
        const auto batch = order.batch(step);
        const bool is_last = step + 1 == (epoch + 1) * steps;
        if (is_last)
          EXPECT_EQ(static_cast<std::int64_t>(batch.size()), order.samples() - (steps - 1) * rules.batch);
        else
          EXPECT_EQ(static_cast<std::int64_t>(batch.size()), rules.batch);
        seen.insert(seen.end(), batch.begin(), batch.end());
      }
      std::sort(seen.begin(), seen.end());
      ASSERT_EQ(seen, all_of(order.samples()));
    }
  }
}

TEST(Order, OfAStepIsTheSameHoweverItWasComeTo) {
  SplitMix64 random(4);
  const auto lengths = random_lengths(random, 100);
  for (const bool grouped : {false, true}) {
    Order straight(lengths, {8, 42, grouped}), jumping(lengths, {8, 42, grouped});
    std::vector<std::vector<std::int64_t>> batches;
    for (std::int64_t step = 0; step < 40; ++step) {
      const auto batch = straight.batch(step);
      batches.emplace_back(batch.begin(), batch.end());
    }
    for (int i = 0; i < 200; ++i) {
      const auto step = static_cast<std::int64_t>(random.below(40));
      const auto batch = jumping.batch(step);
      ASSERT_EQ(std::vector<std::int64_t>(batch.begin(), batch.end()), batches[static_cast<std::size_t>(step)]);
    }
  }
}

TEST(Order, DiffersByEpochAndSeed) {
  const std::vector<std::int64_t> lengths(50, 7);
  std::set<std::vector<std::int64_t>> orders;
  for (const std::uint64_t seed : {0U, 1U, 2U, 1000U})
    for (const std::int64_t epoch : {0, 1, 2, 1000}) orders.insert(epoch_order(lengths, {4, seed, false}, epoch));
  EXPECT_THAT(orders, SizeIs(16));
}

// Each of 24 orders of four samples 1,000 times, give or take six standard deviations of sqrt(24,000/24 · 23/24) = 31.
TEST(Order, MakesEveryOrderAsLikely) {
  const std::vector<std::int64_t> lengths(4, 1);
  std::map<std::vector<std::int64_t>, int> seen;
  for (std::uint64_t seed = 0; seed < 24'000; ++seed) ++seen[epoch_order(lengths, {1, seed, false}, 0)];
  ASSERT_THAT(seen, SizeIs(24));
  for (const auto& [order, times] : seen) EXPECT_NEAR(times, 1000, 186);
}

// 1,000 samples in batches of 8: 1000 / 8 / 4 = 31 batches make a group of 248, so the groups are 248 four times and 8.
TEST(GroupedOrder, IsSortedInGroupsAndBeginsWithTheLongest) {
  SplitMix64 random(5);
  std::vector<std::int64_t> lengths = random_lengths(random, 1000);
  lengths[777] = 5000;
  const auto order = epoch_order(lengths, {8, 9, true}, 0);
  const auto shuffled = epoch_order(lengths, {8, 9, false}, 0);
  const auto length = [&](std::size_t at) { return lengths[static_cast<std::size_t>(order[at])]; };
  // Shuffling puts the longest into another group for each seed.
  for (std::uint64_t seed = 0; seed < 20; ++seed) EXPECT_EQ(epoch_order(lengths, {8, seed, true}, 0)[0], 777);
  std::size_t unsorted = 0;
  for (std::size_t at = 1; at < order.size(); ++at)
    if (at % 248 > 1 && length(at) > length(at - 1)) ++unsorted;
  EXPECT_EQ(unsorted, 0U);
  // But for the two that changed places, a group has the samples that shuffling put there.
  for (std::size_t begin = 0; begin < order.size(); begin += 248) {
    const auto end = std::min(begin + 248, order.size());
    const auto at = [&](const std::vector<std::int64_t>& samples, std::size_t place) {
      return samples.begin() + static_cast<std::ptrdiff_t>(place);
    };
    const std::set<std::int64_t> here(at(order, begin), at(order, end)), there(at(shuffled, begin), at(shuffled, end));
    std::vector<std::int64_t> others;
    std::set_difference(here.begin(), here.end(), there.begin(), there.end(), std::back_inserter(others));
    EXPECT_LE(others.size(), 1U) << "the group at " << begin;
  }
}

TEST(GroupedOrder, PutsSamplesOfLikeLengthIntoABatch) {
  SplitMix64 random(6);
  const auto lengths = random_lengths(random, 4000);
  const auto spread = [&](bool grouped) {
    Order order(lengths, {16, 1, grouped});
    std::int64_t sum = 0;
    for (std::int64_t step = 0; step < order.steps_of_epoch(); ++step) {
      std::vector<std::int64_t> in_batch;
      for (const std::int64_t sample : order.batch(step)) in_batch.push_back(lengths[static_cast<std::size_t>(sample)]);
      const auto [least, most] = std::minmax_element(in_batch.begin(), in_batch.end());
      sum += *most - *least;
    }
    return sum;
  };
  // A group has 50 batches: its batches span some 2000 / 50 tokens, where 16 drawn at random span 15/17 of 2000.
  EXPECT_LT(spread(true) * 20, spread(false));
}

TEST(Order, OfNothingHasNoSteps) {
  Order order({}, {4, 1, true});
  EXPECT_EQ(order.steps_of_epoch(), 0);
  EXPECT_TRUE(order.batch(0).empty());
}

TEST(Order, OfABatchThatIsLargerThanAllIsOneStep) {
  Order order({3, 1, 2}, {std::numeric_limits<std::int64_t>::max() / 2, 1, true});
  EXPECT_EQ(order.steps_of_epoch(), 1);
  const auto batch = order.batch(0);
  EXPECT_THAT(std::vector<std::int64_t>(batch.begin(), batch.end()), ElementsAre(0, 2, 1));
}

}  // namespace
}  // namespace orch::train
