#include "cluster/slurm_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace orch::cluster {
namespace {

using control::End;
using control::event::Seen;
using Phase = Seen::Phase;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::SizeIs;

// As Slurm 22.05 printed it, with two jobs of other names between ours: one of them has a separator and a line break in
// its name, and the part after the break looks like a job's line.
const std::string kQueue =
    "orch|1|FAILED|gpu1|orch-a-1|NonZeroExitCode\n"
    "orch|2|RUNNING|gpu2|we|ird\n"
    "9|None\n"
    "orch|4|PENDING||orch-a-4|BeginTime\n"
    "orch|5|RUNNING|gpu9|orch-b-1|None\n"
    "orch|3|RUNNING|gpu[3-4]|orch-a-3|None\n";

TEST(SlurmAnswers, OfSqueueAreReadForTheJobsWithOurPrefix) {
  const auto jobs = read_queue(kQueue, "orch-a-");
  ASSERT_TRUE(jobs) << jobs.error().what;
  ASSERT_THAT(*jobs, SizeIs(3));
  EXPECT_EQ((*jobs)[0].name, "orch-a-1");
  EXPECT_EQ((*jobs)[0].cluster_id, "1");
  EXPECT_EQ((*jobs)[0].phase, Phase::kOver);
  EXPECT_EQ((*jobs)[0].end, End::kUnknown);
  EXPECT_EQ((*jobs)[0].says, "FAILED (NonZeroExitCode)");
  EXPECT_THAT((*jobs)[0].nodes, ElementsAre("gpu1"));
  EXPECT_EQ((*jobs)[1].phase, Phase::kPending);
  EXPECT_EQ((*jobs)[1].says, "PENDING (BeginTime)");
  EXPECT_THAT((*jobs)[1].nodes, IsEmpty());
  EXPECT_EQ((*jobs)[2].phase, Phase::kRunning);
  EXPECT_EQ((*jobs)[2].says, "RUNNING");
  EXPECT_THAT((*jobs)[2].nodes, ElementsAre("gpu3", "gpu4"));
}

TEST(SlurmAnswers, OfSqueueAreEmptyWhenNoJobIsThere) {
  const auto jobs = read_queue("", "orch-a-");
  ASSERT_TRUE(jobs);
  EXPECT_THAT(*jobs, IsEmpty());
}

TEST(SlurmAnswers, OfSqueueWithAReasonInManyWordsAreRead) {
  const auto jobs = read_queue("orch|7|PENDING||orch-a-7|ReqNodeNotAvail, UnavailableNodes:gpu[1|2]\n", "orch-a-");
  ASSERT_TRUE(jobs) << jobs.error().what;
  EXPECT_EQ(jobs->front().says, "PENDING (ReqNodeNotAvail, UnavailableNodes:gpu[1|2])");
}

TEST(SlurmAnswers, ThatBreakOffAreErrors) {
  // Cut anywhere, the answer is either an error or, at the end of a line, one with fewer jobs: the exit code tells
  // that.
  for (std::size_t n = 1; n < kQueue.size(); ++n)
    if (kQueue[n - 1] != '\n') EXPECT_FALSE(read_queue(kQueue.substr(0, n), "orch-a-")) << n;
}

TEST(SlurmAnswers, ThatAreGarbageAreErrorsAndNeverNoJobs) {
  for (const char* out :
       {"slurm_load_jobs error: nothing works\n", "\n", "{}\n", "JOBID PARTITION\n", "orch\n", "orch|1|RUNNING\n",
        "orch|x|RUNNING|n1|orch-a-1|None\n", "orch|1|<html>|n1|orch-a-1|None\n", "orch|1||n1|orch-a-1|None\n",
        "orch|1|RUNNING|n[1|orch-a-1|None\n", "orch|12345678901234|RUNNING|n1|orch-a-1|None\n"})
    EXPECT_FALSE(read_queue(out, "orch-a-")) << out;
}

TEST(SlurmAnswers, WithAStateOfANewerSlurmAreStillWatched) {
  const auto jobs = read_queue("orch|1|HIBERNATING|n1|orch-a-1|None\n", "orch-a-");
  ASSERT_TRUE(jobs) << jobs.error().what;
  EXPECT_EQ(jobs->front().phase, Phase::kUnknown);
  EXPECT_EQ(jobs->front().says, "HIBERNATING");
}

TEST(SlurmAnswers, OfSbatchAreOneJobId) {
  EXPECT_EQ(*read_submitted("1234\n"), "1234");
  EXPECT_EQ(*read_submitted("1234;orchtest\n"), "1234");
  for (const char* out : {"", "\n", "1234", "Submitted batch job 1234\n", "welcome\n1234\n", "12x\n", ";a\n", "-1\n"})
    EXPECT_FALSE(read_submitted(out)) << out;
}

TEST(SlurmAnswers, OfSacctTellHowJobsEnded) {
  const std::vector<std::string> names = {"orch-a-1", "orch-a-2", "orch-a-3", "orch-a-4"};
  const auto jobs = read_accounting(
      "11|COMPLETED|0:0|0:0|gpu1|orch-a-1\n"
      "12|CANCELLED by 1000|0:0|0:0|None assigned|orch-a-2\n"
      "13|FAILED|0:9|0:0|gpu[1-2]|orch-a-3\n"
      "14|FAILED|3:0|1:0|gpu1|orch-a-4\n",
      names);
  ASSERT_TRUE(jobs) << jobs.error().what;
  ASSERT_THAT(*jobs, SizeIs(4));
  EXPECT_EQ((*jobs)[0].end, End::kDone);
  EXPECT_EQ((*jobs)[0].says, "COMPLETED");
  EXPECT_EQ((*jobs)[1].end, End::kCancelled);
  EXPECT_EQ((*jobs)[1].says, "CANCELLED by 1000");
  EXPECT_THAT((*jobs)[1].nodes, IsEmpty());
  EXPECT_EQ((*jobs)[2].says, "FAILED (signal 9)");
  EXPECT_EQ((*jobs)[3].says, "FAILED (exit code 3)");
}

TEST(SlurmAnswers, OfSacctThatAreGarbageAreErrors) {
  const std::vector<std::string> names = {"orch-a-1"};
  for (const char* out :
       {"11|COMPLETED|0:0|0:0|gpu1|orch-a-1", "11|COMPLETED|0:0|0:0|gpu1|other\n", "11|COMPLETED|0|0:0|gpu1|orch-a-1\n",
        "11|COMPLETED|0:0|0:0|orch-a-1\n", "11.batch|COMPLETED|0:0|0:0|gpu1|orch-a-1\n", "\n"})
    EXPECT_FALSE(read_accounting(out, names)) << out;
}

// As Slurm 22.05 printed it, shortened.
const std::string kJob =
    "JobId=1 JobName=orch-a-1 UserId=root(0) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) Restarts=0 "
    "ExitCode=3:0 RunTime=00:00:00 ReqNodeList=gpu7 ExcNodeList=(null) NodeList=gpu1 BatchHost=gpu1 "
    "Command=/tmp/a JobState=RUNNING/x.sh WorkDir=/tmp Comment=orch-a-1  Power= \n";

TEST(SlurmAnswers, OfScontrolTellOfOneJob) {
  const auto job = read_job(kJob, "orch-a-1");
  ASSERT_TRUE(job) << job.error().what;
  ASSERT_TRUE(*job);
  EXPECT_EQ((*job)->cluster_id, "1");
  EXPECT_EQ((*job)->end, End::kUnknown);
  EXPECT_EQ((*job)->says, "FAILED (exit code 3)");
  EXPECT_THAT((*job)->nodes, ElementsAre("gpu1"));
}

TEST(SlurmAnswers, OfScontrolOnAnIdThatAnotherJobHasNowAreNoJob) {
  const auto job = read_job(kJob, "orch-a-2");
  ASSERT_TRUE(job) << job.error().what;
  EXPECT_FALSE(*job);
}

TEST(SlurmAnswers, OfScontrolThatAreGarbageAreErrors) {
  EXPECT_FALSE(read_job("", "orch-a-1"));
  EXPECT_FALSE(read_job("No jobs in the system\n", "orch-a-1"));
  EXPECT_FALSE(read_job(kJob + kJob, "orch-a-1"));
  EXPECT_FALSE(read_job(kJob.substr(0, 60) + "\n", "orch-a-1"));
}

TEST(SlurmAnswers, WriteListsOfNodesOut) {
  const auto nodes = [](std::string_view list) { return *read_nodes(list); };
  EXPECT_THAT(nodes("gpu1"), ElementsAre("gpu1"));
  EXPECT_THAT(nodes("gpu[1-3,05],cpu-1.site"), ElementsAre("gpu1", "gpu2", "gpu3", "gpu05", "cpu-1.site"));
  EXPECT_THAT(nodes("n[08-11]"), ElementsAre("n08", "n09", "n10", "n11"));
  EXPECT_THAT(nodes("r[1-2]n[1-2]x"), ElementsAre("r1n1x", "r1n2x", "r2n1x", "r2n2x"));
  EXPECT_THAT(nodes("(null)"), IsEmpty());
  EXPECT_THAT(nodes("None assigned"), IsEmpty());
  for (const char* list : {"n[1", "n1]", "n[]", "n[2-1]", "n[a-b]", "n[1-]", ",", "n,", "n[[1]]", "[1-2]", "a b",
                           "n[1-99999999]", "n[1-999]m[1-999]"})
    EXPECT_FALSE(read_nodes(list)) << list;
}

TEST(SlurmAnswers, TellTheVersion) {
  EXPECT_EQ(read_version("slurm 23.11.4\n"), "23.11.4");
  EXPECT_EQ(read_version("slurm-wlm 22.05.8\n"), "22.05.8");
  for (const char* out : {"", "slurm", "slurm \n", "slurm x\n", "bash 5.2\n"}) EXPECT_FALSE(read_version(out)) << out;
}

TEST(SlurmAnswers, TakeOnlyPlainNamesForJobs) {
  EXPECT_TRUE(is_job_name("orch-1f2e-17"));
  EXPECT_TRUE(is_job_name(std::string(200, 'x')));
  for (const std::string& name : {std::string(), std::string("1x"), std::string("-x"), std::string("a b"),
                                  std::string("a,b"), std::string("a|b"), std::string("a\n"), std::string(201, 'x')})
    EXPECT_FALSE(is_job_name(name)) << name;
}

// Every reader, on answers with a few bytes changed: none may end but with values or a message.
TEST(SlurmAnswers, WithAnyByteChangedGiveValuesOrAnError) {
  std::mt19937 random(7);
  const std::vector<std::string> names = {"orch-a-1"};
  const std::string answers[] = {kQueue, kJob, "11|FAILED|0:9|0:0|gpu[1-2]|orch-a-1\n", "1234;c\n", "n[1-3,05],m[2-3]"};
  for (int i = 0; i < 20'000; ++i) {
    std::string text = answers[random() % 5];
    for (int j = 0; j < 3; ++j) text[random() % text.size()] = "\n|[],-:= 0a\0\xFF"[random() % 12];
    const auto queue = read_queue(text, "orch-");
    const auto accounting = read_accounting(text, names);
    const auto job = read_job(text, "orch-a-1");
    if (!queue) ASSERT_FALSE(queue.error().what.empty());
    if (queue)
      for (const Seen& seen : *queue) ASSERT_TRUE(is_job_name(seen.name));
    if (!accounting) ASSERT_FALSE(accounting.error().what.empty());
    if (!job) ASSERT_FALSE(job.error().what.empty());
    (void)read_nodes(text);
    (void)read_submitted(text);
  }
}

}  // namespace
}  // namespace orch::cluster
