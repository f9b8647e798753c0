#include "cluster/local.h"

#include <signal.h>

#include "cluster_suite.h"

namespace orch::cluster {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre, testing::IsEmpty;
using Why = control::event::NotSubmitted::Why;

constexpr std::int64_t kGiB64 = std::int64_t{1} << 30;

struct LocalFixture {
  LocalFixture() { open(); }
  ~LocalFixture() {
    local.reset();
    std::filesystem::remove_all(rules.folder);
  }
  void open() {
    auto opened = Local::open(rules);
    if (!opened) throw std::runtime_error(opened.error().what);
    local = std::move(*opened);
  }
  static LocalRules make_rules() {
    LocalRules rules;
    rules.folder = std::filesystem::path(testing::TempDir()) / (fresh_prefix() + "local");
    rules.slots = {"0", "1", "2", "3"};
    rules.cpus = 64;
    rules.memory = 256 * kGiB64;
    rules.supervisor = {ORCH_LOCAL_SUPERVISOR};
    rules.kill_wait = 1s;
    rules.poll = 20ms;
    return rules;
  }
  Cluster& cluster() { return *local; }
  std::string script_lines() const { return ""; }
  std::string limit_lines() const { return "#SBATCH --time=0:03\n#SBATCH --signal=B:USR1@2\n"; }
  int nodes() const { return 1; }
  int slots() const { return 4; }
  std::chrono::seconds patience{60}, limit_patience{60};
  LocalRules rules = make_rules();
  std::unique_ptr<Local> local;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Local, ClusterSuite, LocalFixture);

/// The suite's helpers, for what only this cluster does.
class LocalCluster : public ClusterSuite<LocalFixture> {
 protected:
  void restart() {
    fixture_.local.reset();
    fixture_.open();
  }
  pid_t supervisor_of(const std::string& id) {
    return read_job_file(job_file(fixture_.rules.folder, std::stoll(id)))->supervisor;
  }
};

TEST_F(LocalCluster, GivesEachJobSlotsOfItsOwn) {
  const std::string lines = "#SBATCH --gres=gpu:h100:2 --ntasks=2 --cpus-per-task=3 --mem=2G --time=5\n";
  const std::string commands =
      "echo \"$CUDA_VISIBLE_DEVICES $SLURM_GPUS_ON_NODE $SLURM_NTASKS $SLURM_CPUS_PER_TASK "
      "$((SLURM_JOB_END_TIME - SLURM_JOB_START_TIME))\" > told.new; mv told.new told; sleep 1000\n";
  for (const char* n : {"1", "2"}) ASSERT_TRUE(submit(prefix_ + n, commands, lines));
  for (const char* n : {"1", "2"}) ASSERT_TRUE(wait_for_file(directory_of(prefix_ + n) / "told"));
  EXPECT_EQ(text_of(directory_of(prefix_ + "1") / "told"), "0,1 2 2 3 300\n");
  EXPECT_EQ(text_of(directory_of(prefix_ + "2") / "told"), "2,3 2 2 3 300\n");
}

TEST_F(LocalCluster, HidesTheVariablesOfAJobThatTheDaemonRunsIn) {
  setenv("SLURM_NTASKS_PER_NODE", "17", 1);
  const std::string name = prefix_ + "1";
  ASSERT_TRUE(submit(name, "echo \"${SLURM_NTASKS_PER_NODE-none}\" > told\n"));
  wait_until_over(name);
  unsetenv("SLURM_NTASKS_PER_NODE");
  EXPECT_EQ(text_of(directory_of(name) / "told"), "none\n");
}

TEST_F(LocalCluster, StartsTheRanksOfSrunItself) {
  const std::string name = prefix_ + "1";
  ASSERT_TRUE(
      submit(name, "srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=1 bash -c 'echo one > told; exit 4'\n"));
  const auto job = wait_until_over(name);
  EXPECT_EQ(text_of(directory_of(name) / "told"), "one\n");
  EXPECT_EQ(job->says, "FAILED (exit code 4)");
}

TEST_F(LocalCluster, EndsWhatAScriptLeavesRunningEvenInASessionOfItsOwn) {
  const std::string name = prefix_ + "1";
  ASSERT_TRUE(submit(name,
                     "setsid bash -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.1; done' &\n"
                     "while [[ ! -s child ]]; do sleep 0.05; done\n"));
  const auto job = wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kDone) << job->says;
  const pid_t child = std::stoi(text_of(directory_of(name) / "child"));
  EXPECT_NE(kill(child, 0), 0);  // gone before the job was said to be over
}

TEST_F(LocalCluster, FindsItsJobsAgainAfterARestartOfTheDaemon) {
  const std::string runs = prefix_ + "runs", ends = prefix_ + "ends", waits = prefix_ + "waits";
  const auto id =
      submit(runs, "touch began; while [[ ! -e go ]]; do sleep 0.05; done; exit 5\n", "#SBATCH --gres=gpu:3\n");
  ASSERT_TRUE(submit(ends, "touch began; while [[ ! -e go ]]; do sleep 0.05; done\n"));
  ASSERT_TRUE(wait_for_file(directory_of(runs) / "began"));
  ASSERT_TRUE(wait_for_file(directory_of(ends) / "began"));
  const auto waiting = submit(waits, "true\n", "#SBATCH --gres=gpu:2\n");
  ASSERT_TRUE(waiting);
  const pid_t supervisor = supervisor_of(*id);

  fixture_.local.reset();
  std::ofstream(directory_of(ends) / "go") << "go";
  // Its supervisor writes the end with nobody there.
  const auto path = job_file(fixture_.rules.folder, std::stoll(*id) + 1);
  for (int i = 0; i < 600 && read_job_file(path)->is_running(); ++i) std::this_thread::sleep_for(50ms);
  fixture_.open();

  EXPECT_EQ(seen(ends)->end, End::kDone);
  EXPECT_EQ(seen(runs)->phase, Phase::kRunning);
  EXPECT_EQ(seen(runs)->cluster_id, *id);
  EXPECT_EQ(supervisor_of(*id), supervisor);
  EXPECT_EQ(seen(waits)->phase, Phase::kPending);  // two of four slots, of which three are taken still
  std::ofstream(directory_of(runs) / "go") << "go";
  EXPECT_EQ(wait_until_over(runs)->says, "FAILED (exit code 5)");
  EXPECT_EQ(wait_until_over(waits)->end, End::kDone);
  const auto next = submit(prefix_ + "next", "true\n");
  ASSERT_TRUE(next);
  EXPECT_GT(std::stoll(*next), std::stoll(*waiting));
}

TEST_F(LocalCluster, TellsAJobWhoseSupervisorWasKilledFromOneThatEnded) {
  const std::string name = prefix_ + "1";
  const auto id = submit(name, "setsid sleep 1000 & echo $! > child; touch began; wait\n");
  ASSERT_TRUE(wait_for_file(directory_of(name) / "began"));
  kill(supervisor_of(*id), SIGKILL);
  const auto job = wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kNodeFailure) << job->says;
  const std::string stat = "/proc/" + text_of(directory_of(name) / "child");
  const pid_t child = std::stoi(text_of(directory_of(name) / "child"));
  const auto runs = [&] {
    const std::string line = text_of("/proc/" + std::to_string(child) + "/stat");
    return !line.empty() && line.find(") Z") == std::string::npos;
  };
  for (int i = 0; i < 200 && runs(); ++i) std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(runs());
}

TEST_F(LocalCluster, EndsTheSupervisorOfAJobWhoseFolderWasRemoved) {
  const std::string name = prefix_ + "1";
  const auto id = submit(name, "touch began; sleep 1000\n");
  ASSERT_TRUE(wait_for_file(directory_of(name) / "began"));
  const pid_t supervisor = supervisor_of(*id);
  fixture_.local.reset();
  std::filesystem::remove_all(fixture_.rules.folder);
  ASSERT_EQ(kill(supervisor, SIGTERM), 0);
  // Its script has one second to end; it used to try for a minute to write how it did.
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (kill(supervisor, 0) == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(20ms);
  EXPECT_NE(kill(supervisor, 0), 0);
  submitted_.clear();
  fixture_.open();
}

TEST_F(LocalCluster, HasOneDaemonAtATime) {
  const auto second = Local::open(fixture_.rules);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr("another daemon"));
}

TEST_F(LocalCluster, TakesANameOnce) {
  const std::string name = prefix_ + "1";
  const auto first = submit(name, "sleep 1000\n");
  const auto second = submit(name, "sleep 1000\n");
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_EQ(*first, *second);
}

TEST_F(LocalCluster, RefusesWhatOneMachineCannotDo) {
  for (const char* line : {"--nodes=2", "--gres=gpu:h100:5", "--ntasks=65", "--mem=257G", "--gres=shard:1",
                           "--time=soon", "--signal=B:WHAT@1", "--mem=lots", "--nodes=0"}) {
    const auto refused = submit(prefix_ + "1", "true\n", "#SBATCH " + std::string(line) + "\n");
    ASSERT_FALSE(refused) << line;
    EXPECT_EQ(refused.error().why, Why::kMistake) << line;
    EXPECT_FALSE(refused.error().what.empty());
  }
  submitted_.clear();
}

TEST_F(LocalCluster, ForgetsOldJobsButNotTheirIds) {
  fixture_.local.reset();
  fixture_.rules.remembered = 1;
  fixture_.open();
  const auto first = submit(prefix_ + "1", "true\n");
  wait_until_over(prefix_ + "1");
  const auto second = submit(prefix_ + "2", "true\n");
  wait_until_over(prefix_ + "2");
  const auto gone = [&] { return !std::filesystem::exists(job_file(fixture_.rules.folder, std::stoll(*first))); };
  for (int i = 0; i < 200 && !gone(); ++i) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(gone());
  EXPECT_THAT(*fixture_.local->history(std::vector{prefix_ + "1"}), IsEmpty());
  std::filesystem::remove(job_file(fixture_.rules.folder, std::stoll(*second)));
  restart();
  const auto third = submit(prefix_ + "3", "true\n");
  EXPECT_EQ(std::stoll(*third), std::stoll(*second) + 1);
  submitted_ = {prefix_ + "3"};
}

Room gpus(int n) { return {n, n, 0}; }
constexpr Room kMachine{4, 4, 0};

TEST(LocalQueue, StartsInTheOrderOfSubmissionWhatFits) {
  EXPECT_THAT(may_start(kMachine, {}, std::vector<WaitingJob>{{gpus(2), {}}, {gpus(2), {}}, {gpus(1), {}}}, 0),
              ElementsAre(0, 1));
}

TEST(LocalQueue, LetsAShortJobGoAheadThatKeepsNobodyWaiting) {
  // Two of four run until 100; the first in the queue wants all four, so it starts at 100 at the latest.
  const std::vector<RunningJob> running = {{gpus(2), 100}};
  EXPECT_THAT(may_start(kMachine, running, std::vector<WaitingJob>{{gpus(4), 50}, {gpus(2), 100}}, 0), ElementsAre(1));
  EXPECT_THAT(may_start(kMachine, running, std::vector<WaitingJob>{{gpus(4), 50}, {gpus(2), 101}}, 0), IsEmpty());
  EXPECT_THAT(may_start(kMachine, running, std::vector<WaitingJob>{{gpus(4), 50}, {gpus(2), {}}}, 0), IsEmpty());
}

TEST(LocalQueue, LetsALongJobGoAheadThatFitsBesideTheOneThatWaits) {
  // At 100 three are free, the first takes two of them, and one stays over: one long job may have it, a second may not.
  const std::vector<RunningJob> running = {{gpus(2), 100}, {gpus(1), 1000}};
  const std::vector<WaitingJob> waiting = {{gpus(2), 50}, {gpus(1), 5000}};
  EXPECT_THAT(may_start(kMachine, running, waiting, 0), ElementsAre(1));
  EXPECT_THAT(
      may_start({5, 5, 0}, running, std::vector<WaitingJob>{{gpus(3), 50}, {gpus(1), 5000}, {gpus(1), 5000}}, 0),
      ElementsAre(1));
}

TEST(LocalQueue, KeepsBigJobsFromStarvingWhereNobodyKnowsWhenOthersEnd) {
  const std::vector<RunningJob> running = {{gpus(2), {}}};
  EXPECT_THAT(may_start(kMachine, running, std::vector<WaitingJob>{{gpus(4), 50}, {gpus(1), 10}}, 0), IsEmpty());
}

TEST(LocalQueue, CountsCpusAndMemoryToo) {
  const Room machine{4, 8, 100};
  EXPECT_THAT(may_start(machine, {}, std::vector<WaitingJob>{{{0, 8, 0}, 10}, {{0, 1, 0}, 10}}, 0), ElementsAre(0));
  EXPECT_THAT(may_start(machine, {}, std::vector<WaitingJob>{{{0, 1, 60}, 10}, {{0, 1, 60}, 10}}, 0), ElementsAre(0));
}

TEST(LocalJob, AsksForWhatItsScriptSays) {
  const auto job = local_job_of({"orch-a-1", "/jobs/1/job.sh", "/jobs/1", {}},
                                "#!/bin/bash\n#SBATCH --gpus-per-node=h100:4 --ntasks-per-node=4 --cpus-per-task=8\n"
                                "#SBATCH --mem=512G --time=1-02:00:00 --signal=B:USR1@120 --output=%x/%j-%%.out\n",
                                7);
  ASSERT_TRUE(job) << job.error().what;
  EXPECT_EQ(job->room.gpus, 4);
  EXPECT_EQ(job->room.cpus, 32);
  EXPECT_EQ(job->room.memory, 512 * kGiB64);
  EXPECT_EQ(job->limit, 26 * 3600);
  EXPECT_EQ(job->signal, SIGUSR1);
  EXPECT_EQ(job->signal_before, 120);
  EXPECT_TRUE(job->signal_script_only);
  EXPECT_EQ(job->output, "/jobs/1/orch-a-1/7-%.out");
}

TEST(LocalJob, IsTheSameAfterItWasWrittenAndRead) {
  auto job = local_job_of({"orch-a-1", "/jobs/1/job.sh", "/jobs/1", {}}, "#!/bin/bash\n#SBATCH --gres=gpu:2\n", 7);
  job->slots = {"0", "3"};
  job->state = "TIMEOUT";
  const auto again = local_job_from_json(to_json(*job));
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(to_json(*again), to_json(*job));
  for (const char* text : {"", "{}", "[]", "{\"id\": \"x\"}"}) EXPECT_FALSE(local_job_from_json(text)) << text;
}

}  // namespace
}  // namespace orch::cluster
