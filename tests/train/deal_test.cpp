#include "train/deal.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "base/split_mix.h"

namespace orch::train {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Batch {
  Samples samples;
  std::vector<std::int64_t> lengths;

  std::int64_t tokens(const Samples& of) const {
    std::int64_t sum = 0;
    for (const std::int64_t sample : of) sum += lengths[static_cast<std::size_t>(sample)];
    return sum;
  }
};

Batch random_batch(SplitMix64& random) {
  Batch batch;
  for (std::uint64_t count = 1 + random.below(500); count > 0; --count)
    batch.lengths.push_back(static_cast<std::int64_t>(1 + random.below(1000)));
  for (std::size_t sample = 0; sample < batch.lengths.size(); ++sample)
    if (random.below(3) == 0) batch.samples.push_back(static_cast<std::int64_t>(sample));
  std::reverse(batch.samples.begin(), batch.samples.end());
  return batch;
}

Samples together(const std::vector<Samples>& parts) {
  Samples all;
  for (const Samples& part : parts) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end());
  return all;
}

TEST(Deal, GivesEverySampleOfTheBatchToOneRank) {
  SplitMix64 random(1);
  for (int round = 0; round < 200; ++round) {
    const Batch batch = random_batch(random);
    Samples sorted = batch.samples;
    std::sort(sorted.begin(), sorted.end());
    for (const int ranks : {1, 2, 3, 4}) {
      const auto dealt = deal(batch.samples, batch.lengths, ranks);
      ASSERT_EQ(dealt.size(), static_cast<std::size_t>(ranks));
      EXPECT_EQ(together(dealt), sorted);
      EXPECT_EQ(dealt, deal(batch.samples, batch.lengths, ranks));
    }
  }
}

// Longest first to the least loaded: when a rank got its last sample it was the least loaded of all, and that sample is
// no longer than any that it had. So no rank has more than any other by more than its last one.
TEST(Deal, LeavesRanksApartByOneSampleAtMost) {
  SplitMix64 random(2);
  for (int round = 0; round < 200; ++round) {
    const Batch batch = random_batch(random);
    for (const int ranks : {2, 3, 4}) {
      const auto dealt = deal(batch.samples, batch.lengths, ranks);
      for (const Samples& most : dealt)
        for (const Samples& least : dealt)
          if (!most.empty())
            EXPECT_LE(batch.tokens(most) - batch.tokens(least), batch.lengths[static_cast<std::size_t>(most.back())]);
    }
  }
}

// The lengths 7, 5, 5, 4, 3, 2 in turn; the loads are then 7|0, 7|5, 7|10, 11|10, 11|13, 13|13.
TEST(Deal, IsWhatIsWorkedOutByHand) {
  const std::vector<std::int64_t> lengths = {3, 5, 7, 2, 4, 5};
  const Samples batch = {0, 1, 2, 3, 4, 5};
  EXPECT_THAT(deal(batch, lengths, 2), ElementsAre(ElementsAre(2, 4, 3), ElementsAre(1, 5, 0)));
}

TEST(Deal, LeavesRanksWithoutSamplesWhereThereAreTooFew) {
  const std::vector<std::int64_t> lengths = {3, 5};
  const Samples batch = {0, 1};
  EXPECT_THAT(deal(batch, lengths, 4), ElementsAre(ElementsAre(1), ElementsAre(0), IsEmpty(), IsEmpty()));
}

TEST(Pack, StaysWithinItsBoundsUnlessASampleAloneIsOver) {
  SplitMix64 random(3);
  for (int round = 0; round < 300; ++round) {
    const Batch batch = random_batch(random);
    Samples sorted = batch.samples;
    std::sort(sorted.begin(), sorted.end());
    const MicroBatchBounds bounds{static_cast<std::int64_t>(random.below(3) * random.below(4000)),
                                  static_cast<std::int64_t>(random.below(12))};
    const auto packed = pack(batch.samples, batch.lengths, bounds);
    EXPECT_EQ(together(packed), sorted);
    EXPECT_EQ(packed, pack(batch.samples, batch.lengths, bounds));
    std::size_t loose = 0;
    for (const Samples& part : packed) {
      ASSERT_FALSE(part.empty());
      if (bounds.tokens > 0 && part.size() > 1) EXPECT_LE(batch.tokens(part), bounds.tokens);
      if (bounds.samples > 0) EXPECT_LE(static_cast<std::int64_t>(part.size()), bounds.samples);
      // No two of them would have gone together.
      const bool has_place = bounds.samples == 0 || static_cast<std::int64_t>(part.size()) * 2 <= bounds.samples;
      loose += has_place && (bounds.tokens == 0 || batch.tokens(part) * 2 <= bounds.tokens);
    }
    EXPECT_LE(loose, 1U);
  }
}

// 8 tokens: 6 alone, 5 alone, then 3 into the fullest that has room (5 + 3), 2 to the 6, the other 2 for itself.
TEST(Pack, FillsTheFullestThatHasRoom) {
  const std::vector<std::int64_t> lengths = {2, 3, 6, 5, 2};
  const Samples samples = {0, 1, 2, 3, 4};
  EXPECT_THAT(pack(samples, lengths, {8, 0}), ElementsAre(ElementsAre(2, 0), ElementsAre(3, 1), ElementsAre(4)));
  EXPECT_THAT(pack(samples, lengths, {0, 2}), ElementsAre(ElementsAre(2, 3), ElementsAre(1, 0), ElementsAre(4)));
  EXPECT_THAT(pack(samples, lengths, {4, 0}),
              ElementsAre(ElementsAre(2), ElementsAre(3), ElementsAre(1), ElementsAre(0, 4)));
  EXPECT_THAT(pack(samples, lengths, {}), ElementsAre(ElementsAre(2, 3, 1, 0, 4)));
}

}  // namespace
}  // namespace orch::train
