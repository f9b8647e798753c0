// Slurm's commands as they may behave on a bad day: fake/slurm.py plays them.
#include "cluster/slurm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "cluster/slurm_answers.h"
#include "cluster/slurm_states.h"

namespace orch::cluster {
namespace {

using namespace std::chrono_literals;
using control::End;
using control::event::Seen;
using Phase = Seen::Phase;
using Why = control::event::NotSubmitted::Why;
using Json = nlohmann::json;
using testing::Contains, testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Not, testing::SizeIs,
    testing::StartsWith;

const Json kOff = {{"err", "Slurm accounting storage is disabled\n"}, {"code", 1}};
const Json kAway = {{"err", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"},
                    {"code", 1}};

class FakeSlurm : public testing::Test {
 protected:
  FakeSlurm() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "bin");
    for (const char* command : {"sbatch", "squeue", "sacct", "scontrol", "scancel"})
      std::filesystem::create_symlink(std::filesystem::path(ORCH_FAKE_SLURM) / "slurm.py", folder_ / "bin" / command);
    setenv("PATH", ((folder_ / "bin").string() + ":" + path_).c_str(), 1);
    setenv("FAKE_SLURM", folder_.c_str(), 1);
    std::ofstream(folder_ / "job.sh") << "#!/bin/bash\n#SBATCH --requeue\ntrue\n";
    rules_.patience = 20s;
    rules_.submit_patience = 20s;
    rules_.pause = 0ms;
    rules_.commands_at_once = 1000;
  }
  ~FakeSlurm() override {
    setenv("PATH", path_.c_str(), 1);
    unsetenv("FAKE_SLURM");
    std::filesystem::remove_all(folder_);
  }

  /// What each command answers from now on, beginning with the first answer.
  void play(const Json& scenario) {
    std::filesystem::remove(folder_ / "calls");
    std::ofstream(folder_ / "scenario.json") << scenario.dump();
  }
  std::vector<Json> calls(const std::string& command) {
    std::vector<Json> found;
    std::ifstream log(folder_ / "calls");
    for (std::string line; std::getline(log, line);)
      if (Json call = Json::parse(line); call["argv"][0] == command) found.push_back(std::move(call));
    return found;
  }
  JobToSubmit job() const { return {"orch-a-1", folder_ / "job.sh", folder_, {"gpu3"}}; }
  Slurm& slurm() {
    if (!slurm_) slurm_.emplace(rules_);
    return *slurm_;
  }
  std::vector<Seen> looked() {
    const auto jobs = slurm().look("orch-a-");
    EXPECT_TRUE(jobs) << jobs.error().what;
    return jobs ? *jobs : std::vector<Seen>{};
  }

  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("orch-fake-slurm-" + std::to_string(getpid()));
  std::string path_ = std::getenv("PATH");
  SlurmRules rules_;
  std::optional<Slurm> slurm_;
};

TEST_F(FakeSlurm, IsGivenAJobWithItsNameItsDirectoryAndNothingOfOurOwnJob) {
  setenv("SBATCH_PARTITION", "wrong", 1);
  setenv("SLURM_JOB_ID", "77", 1);
  setenv("LC_ALL", "en_US.UTF-8", 1);
  play({{"sbatch", {{{"out", "1234\n"}}}}});
  const auto id = slurm().submit(job());
  for (const char* name : {"SBATCH_PARTITION", "SLURM_JOB_ID", "LC_ALL"}) unsetenv(name);
  ASSERT_TRUE(id) << id.error().what;
  EXPECT_EQ(*id, "1234");
  ASSERT_THAT(calls("sbatch"), SizeIs(1));
  const Json call = calls("sbatch").front();
  const auto argv = call["argv"].get<std::vector<std::string>>();
  EXPECT_THAT(argv, ElementsAre("sbatch", "--parsable", "--job-name=orch-a-1", "--comment=orch-a-1",
                                "--chdir=" + folder_.string(), "--open-mode=append", "--exclude=gpu3",
                                (folder_ / "job.sh").string()));
  EXPECT_EQ(call["environment"]["ORCH_JOB_DIR"], folder_.string());
  // The job gets this environment, so it is in the user's locale and not in that in which answers are read.
  EXPECT_EQ(call["environment"]["LC_ALL"], "en_US.UTF-8");
  EXPECT_FALSE(call["environment"].contains("SBATCH_PARTITION"));
  EXPECT_FALSE(call["environment"].contains("SLURM_JOB_ID"));
}

TEST_F(FakeSlurm, ThatAnswersNoIdLeavesItUnclearWhetherItHasTheJob) {
  for (const char* out : {"", "Submitted batch job 12\n", "12", "\x01?\n"}) {
    play({{"sbatch", {{{"out", out}}}}});
    const auto id = slurm().submit(job());
    ASSERT_FALSE(id) << out;
    EXPECT_EQ(id.error().why, Why::kUnclear) << id.error().what;
  }
  play({{"sbatch", {{{"kill", SIGKILL}}}}});
  EXPECT_EQ(slurm().submit(job()).error().why, Why::kUnclear);
}

TEST_F(FakeSlurm, ThatHangsIsGivenUpInTime) {
  rules_.submit_patience = 500ms;
  rules_.patience = 500ms;
  play({{"sbatch", {{{"out", "12"}, {"hang", true}}}}, {"squeue", {{{"out", "orch|1|RUN"}, {"hang", true}}}}});
  const auto begin = std::chrono::steady_clock::now();
  const auto id = slurm().submit(job());
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().why, Why::kUnclear) << id.error().what;
  EXPECT_FALSE(slurm().look("orch-a-"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 15s);
}

TEST_F(FakeSlurm, ThatIsAwayIsAskedEverLessOften) {
  rules_.pause = 1h;
  rules_.longest_pause = 2h;
  play({{"squeue", {kAway}}, {"sbatch", {{{"out", "1\n"}}}}, {"scancel", {Json::object()}}});
  EXPECT_FALSE(slurm().look("orch-a-"));
  const auto look = slurm().look("orch-a-");
  ASSERT_FALSE(look);
  EXPECT_THAT(look.error().what, HasSubstr("asked again in"));
  const auto id = slurm().submit(job());
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().why, Why::kLater);
  EXPECT_THAT(calls("squeue"), SizeIs(1));
  EXPECT_THAT(calls("sbatch"), IsEmpty());
  // A cancellation is not put off, and its success ends the pause.
  EXPECT_TRUE(slurm().cancel("orch-a-1", "1"));
  EXPECT_TRUE(slurm().submit(job()));
}

TEST_F(FakeSlurm, ThatRefusesAJobIsNotTakenForOneThatIsAway) {
  rules_.pause = 1h;
  play({{"sbatch",
         {{{"err", "sbatch: error: Batch job submission failed: Invalid qos specification\n"}, {"code", 1}},
          {{"err",
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)\n"},
           {"code", 1}},
          {{"out", "3\n"}}}}});
  EXPECT_EQ(slurm().submit(job()).error().why, Why::kMistake);
  EXPECT_EQ(slurm().submit(job()).error().why, Why::kLater);
  EXPECT_TRUE(slurm().submit(job()));
}

TEST_F(FakeSlurm, IsAskedNoFasterThanTheBucketLets) {
  rules_.commands_at_once = 2;
  rules_.commands_per_second = 10;
  play({{"squeue", {Json::object()}}});
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 6; ++i) looked();
  // Two at once, and four that wait a tenth of a second each.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 400ms);
}

TEST_F(FakeSlurm, ShowsAJobInEveryStateThatThereIs) {
  std::string out;
  int id = 0;
  for (const SlurmState& state : slurm_states()) {
    const std::string number = std::to_string(++id);
    out += "orch|" + number + "|" + std::string(state.name) + "||orch-a-" + number + "|None\n";
  }
  out += "orch|99|BRAND_NEW||orch-a-99|None\n";
  play({{"squeue", {{{"out", out}}}}});
  const auto jobs = looked();
  ASSERT_THAT(jobs, SizeIs(slurm_states().size() + 1));
  for (std::size_t i = 0; i < slurm_states().size(); ++i) {
    EXPECT_EQ(jobs[i].phase, slurm_states()[i].phase) << jobs[i].says;
    EXPECT_EQ(jobs[i].end, slurm_states()[i].end) << jobs[i].says;
  }
  EXPECT_EQ(jobs.back().phase, Phase::kUnknown);
  // One call, for all jobs and also those in hidden partitions and those that are over.
  ASSERT_THAT(calls("squeue"), SizeIs(1));
  const auto argv = calls("squeue").front()["argv"].get<std::vector<std::string>>();
  for (const char* option : {"--all", "--states=all", "--noheader"}) EXPECT_THAT(argv, Contains(option));
  EXPECT_THAT(argv, Contains("--user=" + std::to_string(geteuid())));
}

TEST_F(FakeSlurm, ThatAnswersGarbageOrHalfAnAnswerHasNotSaidThatJobsAreGone) {
  for (const char* out : {"orch|1|RUNNING||orch-a-1|None\norch|2|RUN", "<html>gateway timeout</html>\n",
                          "orch|1|RUNNING||orch-a-1|None\n\norch|2|\n"}) {
    play({{"squeue", {{{"out", out}}}}});
    EXPECT_FALSE(slurm().look("orch-a-")) << out;
  }
  // All well but for its exit code.
  play({{"squeue", {{{"out", "orch|1|RUNNING||orch-a-1|None\n"}, {"err", "error\n"}, {"code", 1}}}}});
  EXPECT_FALSE(slurm().look("orch-a-"));
  rules_.most_output = 1000;
  slurm_.reset();
  play({{"squeue", {{{"out", std::string(2000, '\n')}}}}});
  EXPECT_FALSE(slurm().look("orch-a-"));
}

TEST_F(FakeSlurm, TellsTheEndsOfJobsByAccounting) {
  play({{"sacct", {{{"out", "1|FAILED|3:0|0:0|gpu1|orch-a-1\n2|TIMEOUT|0:0|0:0|gpu[1-2]|orch-a-2\n"}}}},
        {"squeue", {Json::object()}}});
  const auto jobs = slurm().history(std::vector<std::string>{"orch-a-1", "orch-a-2", "orch-a-3"});
  ASSERT_TRUE(jobs) << jobs.error().what;
  ASSERT_THAT(*jobs, SizeIs(2));
  EXPECT_EQ((*jobs)[0].says, "FAILED (exit code 3)");
  EXPECT_EQ((*jobs)[1].end, End::kTimeout);
  const auto argv = calls("sacct").front()["argv"].get<std::vector<std::string>>();
  EXPECT_THAT(argv, Contains("--name=orch-a-1,orch-a-2,orch-a-3"));
  EXPECT_THAT(argv, Contains(StartsWith("--starttime=20")));
}

TEST_F(FakeSlurm, DoesNotRaiseFromTheDeadAJobThatOnlyAccountingTakesForAlive) {
  play({{"sacct", {{{"out", "1|RUNNING|0:0|0:0|gpu1|orch-a-1\n"}}}}, {"squeue", {Json::object()}}});
  const auto jobs = slurm().history(std::vector<std::string>{"orch-a-1"});
  ASSERT_TRUE(jobs) << jobs.error().what;
  EXPECT_THAT(*jobs, IsEmpty());
}

const Json kQueueHasOne = {{"out", "orch|7|FAILED|gpu1|orch-a-1|NonZeroExitCode\n"}};
const std::string kShown =
    "JobId=7 JobName=orch-a-1 UserId=root(0) JobState=FAILED Reason=NonZeroExitCode ExitCode=5:0 NodeList=gpu1 \n";

TEST_F(FakeSlurm, WithoutAccountingTellsTheEndsOfJobsByTheController) {
  play({{"sacct", {kOff}}, {"squeue", {kQueueHasOne}}, {"scontrol", {{{"out", kShown}}}}});
  for (int i = 0; i < 2; ++i) {
    const auto jobs = slurm().history(std::vector<std::string>{"orch-a-1", "orch-a-2"});
    ASSERT_TRUE(jobs) << jobs.error().what;
    ASSERT_THAT(*jobs, SizeIs(1));
    EXPECT_EQ(jobs->front().says, "FAILED (exit code 5)");
    EXPECT_EQ(jobs->front().end, End::kUnknown);
  }
  EXPECT_THAT(calls("sacct"), SizeIs(1));  // it is switched off, and will be for a while
}

TEST_F(FakeSlurm, AsksAgainWhetherThereIsAccounting) {
  rules_.accounting_again = 0ms;
  play({{"sacct", {kOff, {{"out", "1|COMPLETED|0:0|0:0|gpu1|orch-a-1\n"}}}},
        {"squeue", {Json::object()}},
        {"scontrol", {{{"out", "slurm 23.11.4\n"}}}}});
  EXPECT_THAT(*slurm().history(std::vector<std::string>{"orch-a-1"}), IsEmpty());
  EXPECT_EQ(slurm().describe(), "slurm 23.11.4 (no accounting)");
  EXPECT_THAT(*slurm().history(std::vector<std::string>{"orch-a-1"}), SizeIs(1));
  EXPECT_EQ(slurm().describe(), "slurm 23.11.4 (accounting)");
}

TEST_F(FakeSlurm, WhoseAccountingIsAwayTellsWhatTheControllerKnowsAndLeavesTheRestOpen) {
  rules_.pause = 1h;
  rules_.longest_pause = 2h;
  const Json away = {{"err", "sacct: error: Problem talking to the database: Connection refused\n"}, {"code", 1}};
  play({{"sacct", {away}}, {"squeue", {kQueueHasOne}}, {"scontrol", {{{"out", kShown}}}}});
  const auto known = slurm().history(std::vector<std::string>{"orch-a-1"});
  ASSERT_TRUE(known) << known.error().what;
  EXPECT_THAT(*known, SizeIs(1));
  // Of the second nobody has said that it is unknown.
  EXPECT_FALSE(slurm().history(std::vector<std::string>{"orch-a-1", "orch-a-2"}));
  EXPECT_THAT(calls("sacct"), SizeIs(1));  // it is left alone for a while
  EXPECT_THAT(looked(), SizeIs(1));        // and the controller is not
}

TEST_F(FakeSlurm, ThatGaveAJobsIdToAnotherIsNotAskedAboutThatOne) {
  const std::string others = "JobId=7 JobName=somebody JobState=RUNNING Reason=None ExitCode=0:0 NodeList=gpu1 \n";
  play({{"sacct", {kOff}},
        {"squeue", {kQueueHasOne}},
        {"scontrol", {{{"out", others}}}},
        {"scancel", {Json::object()}}});
  const auto jobs = slurm().history(std::vector<std::string>{"orch-a-1"});
  ASSERT_TRUE(jobs) << jobs.error().what;
  ASSERT_THAT(*jobs, SizeIs(1));
  EXPECT_EQ(jobs->front().phase, Phase::kOver);
  EXPECT_EQ(jobs->front().says, "FAILED (NonZeroExitCode)");
  // Nor is it cancelled: scancel takes only a job that has both, the id and the name.
  EXPECT_TRUE(slurm().cancel("orch-a-1", "7"));
  EXPECT_THAT(calls("scancel").front()["argv"].get<std::vector<std::string>>(),
              ElementsAre("scancel", "--user=" + std::to_string(geteuid()), "--name=orch-a-1", "7"));
}

TEST_F(FakeSlurm, TakesACancellationOfWhatIsOverAsDone) {
  play({{"scancel",
         {{{"err", "scancel: error: Kill job error on job id 7: Invalid job id specified\n"}, {"code", 1}},
          {{"err", "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n"},
           {"code", 1}},
          {{"err", "scancel: error: Kill job error on job id 7: Access/permission denied\n"}, {"code", 1}}}}});
  EXPECT_TRUE(slurm().cancel("orch-a-1", "7"));
  EXPECT_TRUE(slurm().cancel("orch-a-1", "7"));
  EXPECT_FALSE(slurm().cancel("orch-a-1", "7"));
  EXPECT_FALSE(slurm().cancel("orch-a-1", "7; reboot"));
  EXPECT_FALSE(slurm().cancel("*", "7"));
}

TEST_F(FakeSlurm, IsNotAskedForNamesThatNoJobCanHave) {
  play({});
  EXPECT_EQ(slurm().submit({"a b", folder_ / "job.sh", folder_, {}}).error().why, Why::kMistake);
  EXPECT_EQ(slurm().submit({"orch-a-1", folder_ / "job.sh", folder_, {"gpu1,gpu2"}}).error().why, Why::kMistake);
  EXPECT_EQ(slurm().submit({"orch-a-1", folder_ / "none.sh", folder_, {}}).error().why, Why::kLater);
  EXPECT_THAT(*slurm().history(std::vector<std::string>{"a,b"}), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "calls"));
}

}  // namespace
}  // namespace orch::cluster
