// What waits because of a limit: the soft budget above all.
#include "policy/limits.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace orch::policy {
namespace {

using testing::HasSubstr;

Limits budget(double gpu_hours) {
  Limits limits;
  limits.gpu_hours = gpu_hours;
  return limits;
}

/// Which jobs may go, as a row of `.` (goes) and `w` (waits).
std::string row(const std::vector<Demand>& jobs, const Limits& limits, double used = 0) {
  std::string text;
  for (const auto& reason : hold_back(jobs, limits, used)) text += reason ? 'w' : '.';
  return text;
}

TEST(Limits, NothingWaitsWithoutABudget) { EXPECT_EQ(row({{"j1", 8, 1e9, {}}, {"j2", 512, 1e9, {}}}, Limits{}), ".."); }

TEST(Limits, WhatWouldExceedTheBudgetWaitsWithTheFiguresInItsReason) {
  // 700 used, 100 fit exactly, the next 12 do not.
  const std::vector<Demand> jobs = {{"j1", 8, 100, {}}, {"j2", 4, 12, {}}};
  const auto reasons = hold_back(jobs, budget(800), 700);
  EXPECT_FALSE(reasons[0]);
  ASSERT_TRUE(reasons[1]);
  EXPECT_EQ(*reasons[1], "would bring the sweep to 812 of 800 GPU-hours; waits until the budget is raised or renewed");
}

TEST(Limits, ReasonNamesWhoseBudgetItIs) {
  const std::vector<Demand> jobs = {{"j1", 8, 2, {}}};
  EXPECT_THAT(hold_back(jobs, budget(3), 1.5, "user mara")[0].value_or(""),
              HasSubstr("would bring user mara to 3.5 of 3 GPU-hours"));
}

TEST(Limits, OfWhatFitsIntoNoBudgetTheReasonSaysSo) {
  const std::vector<Demand> jobs = {{"j1", 8, 2, {}}};
  EXPECT_EQ(hold_back(jobs, budget(1), 0, "user mara")[0].value_or(""),
            "may take 2 GPU-hours, more than all of the budget of user mara (1); waits until the budget is raised");
}

TEST(Limits, AnExcessTooSmallToShowNeverReadsAsNone) {
  const std::vector<Demand> jobs = {{"j1", 1, 0.001, {}}};
  EXPECT_THAT(hold_back(jobs, budget(800), 800)[0].value_or(""), HasSubstr("to 800.1 of 800 GPU-hours"));
  // A small budget is not rounded to nothing, nor to five times as much.
  Limits small;
  small.gpu_hours = 0.02;
  EXPECT_EQ(used_of_budget(small, 0.0041), "0.0041 of 0.02 GPU-hours");
  EXPECT_EQ(used_of_budget(small, 0), "0 of 0.02 GPU-hours");
}

TEST(Limits, SumsOfDecimalsThatFillABudgetExactlyFit) {
  // 0.1 + 0.2 is 0.30000000000000004 in doubles.
  EXPECT_EQ(row({{"j1", 1, 0.1, {}}, {"j2", 1, 0.2, {}}}, budget(0.3)), "..");
}

TEST(Limits, ASmallerJobMayPassOneThatIsHeldBackAndNoneBeforeItLosesByThat) {
  // 100: 60 goes, 50 would be 110 and waits, 40 makes it 100, 1 would be 101.
  EXPECT_EQ(row({{"a", 1, 60, {}}, {"b", 1, 50, {}}, {"c", 1, 40, {}}, {"d", 1, 1, {}}}, budget(100)), ".w.w");
}

TEST(Limits, WhatDependsOnAHeldBackJobWaitsToo) {
  // b waits for the budget; c needs b; d needs c; e needs a only.
  const std::vector<Demand> jobs = {
      {"a", 1, 60, {}}, {"b", 1, 50, {}}, {"c", 1, 1, {1}}, {"d", 1, 1, {2}}, {"e", 1, 1, {0}}};
  EXPECT_EQ(row(jobs, budget(100)), ".www.");
  EXPECT_EQ(hold_back(jobs, budget(100), 0)[2], "needs what b makes, which waits itself");
}

TEST(Limits, WhatAJobDependsOnIsDecidedAtThatJobsTurn) {
  // First in order is an evaluation of what the last one trains: the two take 90 before b is asked, and b does not fit.
  EXPECT_EQ(row({{"eval", 1, 10, {2}}, {"b", 1, 20, {}}, {"train", 1, 80, {}}}, budget(100)), ".w.");
}

TEST(Limits, AJobWiderThanTheGpusAllowedAtOnceWaits) {
  Limits limits;
  limits.max_gpus = 8;
  const std::vector<Demand> jobs = {{"j1", 8, 1, {}}, {"j2", 16, 1, {}}};
  const auto reasons = hold_back(jobs, limits, 0);
  EXPECT_FALSE(reasons[0]);
  EXPECT_EQ(reasons[1], "needs 16 GPUs at once where the sweep may have 8; waits until the limit is raised");
}

TEST(Limits, ABudgetThatIsUsedUpHoldsEverythingBackThatCosts) {
  EXPECT_EQ(row({{"j1", 1, 0.5, {}}, {"j2", 1, 0, {}}}, budget(10), 10), "w.");
}

TEST(Limits, DemandsThatAreNoNumbersWaitAndTakeNothingFromOthers) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(row({{"a", 1, std::nan(""), {}}, {"b", 1, kInf, {}}, {"c", 1, -5, {}}, {"d", 1, 10, {}}}, budget(10)),
            "ww..");
  EXPECT_EQ(row({{"a", 1, 1, {}}}, budget(10), std::nan("")), "w");
}

TEST(Limits, CyclesAndIndicesOutOfRangeDoNoHarm) {
  EXPECT_EQ(row({{"a", 1, 1, {1}}, {"b", 1, 1, {0}}, {"c", 1, 1, {2}}, {"d", 1, 1, {99}}}, budget(10)), "....");
}

TEST(Limits, ALongChainOfDependenciesIsNoDeepRecursion) {
  std::vector<Demand> jobs;
  constexpr std::uint32_t kJobs = 300'000;
  for (std::uint32_t i = 0; i < kJobs; ++i) {
    jobs.push_back({"j", 1, 0, {}});
    if (i + 1 < kJobs) jobs.back().after = {i + 1};
  }
  jobs.back().gpu_hours = 2;
  EXPECT_EQ(row(jobs, budget(1)), std::string(kJobs, 'w'));
}

TEST(Limits, OneMoreJobIsSubmittedOnlyBelowEachLimit) {
  Limits limits;
  limits.max_jobs = 12;
  limits.max_gpus = 8;
  limits.max_queued = 4;
  EXPECT_FALSE(not_now(limits, {11, 7, 3}, 1));
  EXPECT_EQ(not_now(limits, {12, 0, 0}, 1), "the sweep has 12 of 12 jobs at once; waits for one to end");
  EXPECT_EQ(not_now(limits, {0, 7, 0}, 2), "the sweep has 7 of 8 GPUs and this job takes 2; waits for others to end");
  EXPECT_EQ(not_now(limits, {4, 0, 4}, 1, "user mara"),
            "user mara has 4 of 4 jobs in Slurm's queue; waits for one to start");
  EXPECT_FALSE(not_now(Limits{}, {1000, 1000, 1000}, 1000));
  EXPECT_TRUE(not_now(limits, {0, std::numeric_limits<int>::max(), 0}, std::numeric_limits<int>::max()));
}

}  // namespace
}  // namespace orch::policy
