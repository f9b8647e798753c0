#include "train/keep.h"

#include <gmock/gmock.h>

#include <limits>

namespace orch::train {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<Kept> checkpoints(const std::vector<double>& losses) {
  std::vector<Kept> there;
  for (std::size_t i = 0; i < losses.size(); ++i)
    there.push_back({static_cast<std::int64_t>(100 * (i + 1)), losses[i], true});
  return there;
}

TEST(Keep, HasTheNewestAndTheBest) {
  // The best three are those of 200, 300 and 400; the newest two 500 and 600.
  const auto there = checkpoints({9, 1, 2, 3, 8, 7});
  EXPECT_THAT(to_remove(there, {2, 3}), ElementsAre(100));
  EXPECT_THAT(to_remove(there, {1, 2}), ElementsAre(100, 400, 500));
  EXPECT_THAT(to_remove(there, {}), IsEmpty());
}

TEST(Keep, LetsOneCheckpointBeBoth) {
  EXPECT_THAT(to_remove(checkpoints({9, 8, 7, 6}), {2, 2}), ElementsAre(100, 200));
}

TEST(Keep, CountsAsNewestOnlyWhatARunCanGoOnFrom) {
  std::vector<Kept> there = checkpoints({1, 5, 6, 7});
  there[3].is_resumable = false;
  EXPECT_THAT(to_remove(there, {2, 1}), ElementsAre(400));
}

TEST(Keep, KeepsTheEarlierOfEqualLossesAndNoneThatIsNoNumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Kept> there = checkpoints({nan, 3, 3, 3, -std::numeric_limits<double>::infinity(), 4});
  there.push_back({50, std::nullopt, true});
  EXPECT_THAT(to_remove(there, {1, 2}), ElementsAre(50, 100, 400, 500));
}

TEST(Keep, RemovesNothingMoreWhenItIsAskedAgain) {
  std::vector<Kept> there = checkpoints({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8});
  const auto gone = to_remove(there, {2, 3});
  EXPECT_FALSE(gone.empty());
  std::erase_if(there, [&](const Kept& each) { return std::find(gone.begin(), gone.end(), each.step) != gone.end(); });
  EXPECT_THAT(to_remove(there, {2, 3}), IsEmpty());
}

}  // namespace
}  // namespace orch::train
