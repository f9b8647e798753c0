// Ladders: what is done after each failure, in which order, and when it becomes another cell.
#include "policy/remedy.h"

#include <gmock/gmock.h>

#include "policy/read.h"

namespace orch::policy {
namespace {

using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty;
using enum Remedy;

/// The steps of a cause, one after another, until it is given up.
std::vector<Remedy> walk(const Policy& policy, Cause cause, const std::map<Remedy, std::string>& impossible = {}) {
  std::vector<Remedy> tried;
  while (tried.size() < 1000) {
    const Step step = next_remedy(policy, cause, {tried, impossible});
    if (step.remedy == kGiveUp) return tried;
    tried.push_back(step.remedy);
  }
  return tried;
}

TEST(Remedy, LadderForGpuMemoryIsGoneDownStepByStep) {
  EXPECT_THAT(walk(shipped("default"), Cause::kGpuMemory),
              ElementsAre(kSmallerBatch, kSmallerBatch, kMoreGpus, kLessTensorMorePipeline, kInt8));
}

TEST(Remedy, OfATimeoutGrowsTheLimitBeforeTheNumberOfGpus) {
  EXPECT_THAT(walk(shipped("default"), Cause::kTimeout),
              ElementsAre(kRetry, kMoreTime, kMoreTime, kMoreGpus, kLessTensorMorePipeline));
}

TEST(Remedy, OfBadInputIsToGiveUpAtOnce) { EXPECT_THAT(walk(shipped("default"), Cause::kBadInput), IsEmpty()); }

TEST(Remedy, OfAPreemptionIsToTryAgainAHundredTimes) {
  EXPECT_EQ(walk(shipped("default"), Cause::kPreempted).size(), 100u);
}

TEST(Remedy, ThatIsNotPossibleIsPassedOverWithItsReason) {
  const Policy policy = shipped("default");
  const std::map<Remedy, std::string> impossible = {{kSmallerBatch, "the batch is 1 already"},
                                                    {kMoreGpus, "ultra_large is the largest profile"}};
  const Step step = next_remedy(policy, Cause::kGpuMemory, {{}, impossible});
  EXPECT_EQ(step.remedy, kLessTensorMorePipeline);
  EXPECT_THAT(step.skipped,
              ElementsAre("smaller_batch: the batch is 1 already", "more_gpus: ultra_large is the largest profile"));
  EXPECT_THAT(walk(policy, Cause::kGpuMemory, impossible), ElementsAre(kLessTensorMorePipeline, kInt8));
}

TEST(Remedy, IsGivenUpWhenNothingIsPossible) {
  const std::map<Remedy, std::string> impossible = {
      {kSmallerBatch, "a"}, {kMoreGpus, "b"}, {kLessTensorMorePipeline, "c"}, {kInt8, "d"}};
  const Step step = next_remedy(shipped("default"), Cause::kGpuMemory, {{}, impossible});
  EXPECT_EQ(step.remedy, kGiveUp);
  EXPECT_EQ(step.skipped.size(), 4u);
  EXPECT_THAT(step.reason, HasSubstr("gpu_memory"));
}

TEST(Remedy, CountsItsAttemptsAndCarriesItsFactor) {
  const Policy policy = shipped("default");
  const std::vector<Remedy> tried = {kSmallerBatch};
  const Step step = next_remedy(policy, Cause::kGpuMemory, {tried, {}});
  EXPECT_EQ(step.remedy, kSmallerBatch);
  EXPECT_EQ(step.attempt, 2);
  EXPECT_EQ(step.times, 2);
  EXPECT_EQ(step.factor, 0.5);
  EXPECT_THAT(step.reason, HasSubstr("smaller_batch (2 of 2) for gpu_memory"));
}

TEST(Remedy, ThatChangesNumericsMakesAnotherCellAndNoOtherDoes) {
  // A dtype, an engine and a learning rate are part of a cell's key; batch, layout, time and place are not.
  for (Remedy remedy : {kInt8, kOtherEngine, kLowerRate}) EXPECT_TRUE(makes_another_cell(remedy)) << name_of(remedy);
  for (Remedy remedy :
       {kRetry, kSmallerBatch, kMoreGpus, kLessTensorMorePipeline, kMoreTime, kMoreMemory, kOtherNode, kGiveUp})
    EXPECT_FALSE(makes_another_cell(remedy)) << name_of(remedy);
}

TEST(Remedy, StepOfInt8SaysThatItIsAnotherCell) {
  const std::vector<Remedy> tried = {kSmallerBatch, kSmallerBatch, kMoreGpus, kLessTensorMorePipeline};
  const Step step = next_remedy(shipped("default"), Cause::kGpuMemory, {tried, {}});
  EXPECT_EQ(step.remedy, kInt8);
  EXPECT_TRUE(step.another_cell);
  EXPECT_THAT(step.reason, HasSubstr("another cell"));
  EXPECT_FALSE(next_remedy(shipped("default"), Cause::kGpuMemory, {{}, {}}).another_cell);
}

TEST(Remedy, OfACauseWithoutALadderIsToGiveUp) {
  EXPECT_EQ(next_remedy(Policy{}, Cause::kTimeout, {}).remedy, kGiveUp);
}

TEST(Remedy, TriedOftenerThanTheLadderSaysIsNotTriedAgain) {
  const std::vector<Remedy> tried = {kRetry, kRetry, kRetry};
  EXPECT_EQ(next_remedy(shipped("default"), Cause::kNodeFailure, {tried, {}}).remedy, kOtherNode);
}

TEST(Remedy, NamesAreReadAsTheyAreWritten) {
  for (Remedy remedy : kRemedies) EXPECT_EQ(remedy_named(name_of(remedy)), remedy);
  for (Cause cause : kCauses) EXPECT_EQ(cause_named(name_of(cause)), cause);
  EXPECT_FALSE(remedy_named("Retry"));
  EXPECT_FALSE(cause_named(""));
}

TEST(Remedy, Int8IsOnlyForWhatDoesNotFitAndALowerRateOnlyForNan) {
  for (Cause cause : kCauses) {
    const auto helpful = remedies_for(cause);
    const auto has = [&](Remedy remedy) { return std::ranges::find(helpful, remedy) != helpful.end(); };
    EXPECT_EQ(has(kInt8), cause == Cause::kGpuMemory || cause == Cause::kLoadFailed) << name_of(cause);
    EXPECT_EQ(has(kLowerRate), cause == Cause::kNan) << name_of(cause);
    EXPECT_TRUE(has(kGiveUp)) << name_of(cause);
  }
  EXPECT_THAT(remedies_for(Cause::kBadInput), ElementsAre(kGiveUp));
}

}  // namespace
}  // namespace orch::policy
