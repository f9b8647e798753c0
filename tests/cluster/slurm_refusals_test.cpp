#include "cluster/slurm_refusals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace orch::cluster {
namespace {

using Why = control::event::NotSubmitted::Why;
using testing::HasSubstr;

RunError ended(const std::string& said, int code = 1) {
  return {RunFailure::kNonZero, code, "'sbatch' ended with code " + std::to_string(code) + ": " + said, said + "\n"};
}

Why why_of(const std::string& said) { return refused(ended(said)).why; }

// As Slurm 22.05 said them when it was asked for what cannot be.
TEST(Refusals, OfWhatCanNeverWorkAreMistakes) {
  const std::string failed = "sbatch: error: Batch job submission failed: ";
  for (const std::string& said : {
           "sbatch: error: invalid partition specified: nope\n" + failed + "Invalid partition name specified",
           failed + "Requested node configuration is not available",
           failed + "Requested time limit is invalid (missing or exceeds some limit)",
           "sbatch: error: Memory specification can not be satisfied\n" + failed +
               "Requested node configuration is not available",
           failed + "Invalid account or account/partition combination specified",
           failed + "Invalid qos specification",
           failed + "Invalid feature specification",
           failed + "Invalid license specification",
           failed + "Invalid node name specified",
           failed + "Node count specification invalid",
           failed + "Requested reservation is invalid",
           failed + "Invalid generic resource (gres) specification",
           failed + "User's group not permitted to use this partition",
           "sbatch: error: QOSMaxWallDurationPerJobLimit\n" + failed +
               "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
           std::string("sbatch: unrecognized option '--frobnicate'\nTry \"sbatch --help\" for more information"),
           std::string("sbatch: error: Invalid --time specification"),
           std::string("sbatch: error: Batch script is empty!"),
           std::string(
               "sbatch: error: This does not look like a batch script.  The first\nsbatch: error: line must start"),
       })
    EXPECT_EQ(why_of(said), Why::kMistake) << said;
}

TEST(Refusals, OfWhatMayWorkInAWhileAreForLater) {
  const std::string failed = "sbatch: error: Batch job submission failed: ";
  for (const std::string& said : {
           failed + "Unable to contact slurm controller (connect failure)",
           std::string("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
           "sbatch: error: AssocMaxSubmitJobLimit\n" + failed +
               "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
           "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + failed +
               "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
           failed + "Required partition not available (inactive or drain)",
           failed + "Required node not available (down, drained or reserved)",
           failed + "I/O error writing script/environment to file",
           std::string("sbatch: error: Unable to open file: Disk quota exceeded"),
           failed + "Slurm backup controller in standby mode",
           failed + "the moon is full",  // a site's submit plugin
       })
    EXPECT_EQ(why_of(said), Why::kLater) << said;
  EXPECT_EQ(refused({RunFailure::kNotFound, 0, "'sbatch' was not found on the PATH", ""}).why, Why::kLater);
}

// The controller may have written the job down before its answer was lost.
TEST(Refusals, AfterWhichTheJobMayBeThereAreUnclear) {
  const std::string failed = "sbatch: error: Batch job submission failed: ";
  EXPECT_EQ(why_of(failed + "Socket timed out on send/recv operation"), Why::kUnclear);
  EXPECT_EQ(why_of(failed + "Zero Bytes were transmitted or received"), Why::kUnclear);
  EXPECT_EQ(refused({RunFailure::kTimedOut, 0, "'sbatch' gave no answer", ""}).why, Why::kUnclear);
  EXPECT_EQ(
      refused({RunFailure::kTimedOut, 0, "'sbatch' gave no answer", "Slurm temporarily unable to accept job"}).why,
      Why::kUnclear);
  EXPECT_EQ(refused({RunFailure::kTooMuch, 0, "'sbatch' printed more than", ""}).why, Why::kUnclear);
  EXPECT_EQ(refused(ended("", 128 + 9)).why, Why::kUnclear);
  // Slurm's commands end with 255 of themselves.
  EXPECT_EQ(refused(ended("sbatch: unrecognized option '--x'", 255)).why, Why::kMistake);
  EXPECT_EQ(refused(ended("", 255)).why, Why::kLater);
}

TEST(Refusals, SayWhatSlurmSaidAndWhatItMeans) {
  const SubmitError error =
      refused(ended("sbatch: error: Batch job submission failed: Invalid partition name specified"));
  EXPECT_THAT(error.what, HasSubstr("Invalid partition name specified"));
  EXPECT_THAT(error.what, HasSubstr("the cluster file names a partition that is not there"));
}

TEST(Refusals, AreAllReachable) {
  for (const Refusal& refusal : refusals()) {
    const SubmitError error = refused(ended(std::string(refusal.words)));
    EXPECT_EQ(error.why, refusal.why) << refusal.words;
    EXPECT_THAT(error.what, HasSubstr(std::string(refusal.advice))) << refusal.words;
  }
}

TEST(Refusals, TellAControllerThatIsAwayFromOneThatSaysNo) {
  EXPECT_TRUE(nobody_answered(ended("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")));
  EXPECT_TRUE(nobody_answered({RunFailure::kTimedOut, 0, "", ""}));
  EXPECT_FALSE(nobody_answered(ended("sbatch: error: Batch job submission failed: Invalid qos specification")));
  EXPECT_FALSE(nobody_answered(ended("sbatch: unrecognized option '--x'", 255)));
  EXPECT_FALSE(nobody_answered(ended("scancel: error: Kill job error on job id 1: Invalid job id specified")));
}

}  // namespace
}  // namespace orch::cluster
