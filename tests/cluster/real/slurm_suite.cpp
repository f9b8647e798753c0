// Against the Slurm that SLURM_CONF names: slurm_up.sh starts it.
#include "cluster/slurm.h"

#include "cluster_suite.h"

namespace orch::cluster {
namespace {

using Why = control::event::NotSubmitted::Why;

/// A test asks in a minute what a daemon asks in a day.
SlurmRules quick() {
  SlurmRules rules;
  rules.commands_at_once = 10'000;
  rules.commands_per_second = 100;
  return rules;
}

struct SlurmFixture {
  Cluster& cluster() { return slurm; }
  std::string script_lines() const { return "#SBATCH --nodes=1 --ntasks=1 --mem=100M\n"; }
  std::string limit_lines() const { return "#SBATCH --time=1\n#SBATCH --signal=B:USR1@30\n"; }
  int nodes() const { return 4; }
  int slots() const { return 8; }
  // Limits are whole minutes, checked every half; then KillWait.
  std::chrono::seconds patience{60}, limit_patience{180};
  Slurm slurm{quick()};
};

INSTANTIATE_TYPED_TEST_SUITE_P(Slurm, ClusterSuite, SlurmFixture);

class SlurmCluster : public ClusterSuite<SlurmFixture> {};

TEST_F(SlurmCluster, SaysWhatItIs) {
  const auto past = cluster().history(std::vector{prefix_ + "never"});
  ASSERT_TRUE(past) << past.error().what;
  const bool accounting = text_of(std::getenv("SLURM_CONF")).find("accounting_storage/slurmdbd") != std::string::npos;
  EXPECT_THAT(cluster().describe(), testing::MatchesRegex("slurm [0-9][0-9.]+ \\(.*accounting\\)"));
  EXPECT_EQ(cluster().describe().find("(no accounting)") == std::string::npos, accounting) << cluster().describe();
}

TEST_F(SlurmCluster, TellsMistakesFromWhatMayWorkLater) {
  const struct {
    const char* line;
    Why why;
  } cases[] = {{"--partition=nope", Why::kMistake},   {"--gres=gpu:nope:1", Why::kMistake},
               {"--time=2:00:00", Why::kMistake},     {"--mem=2000G", Why::kMistake},
               {"--constraint=nope", Why::kMistake},  {"--licenses=nope", Why::kMistake},
               {"--reservation=nope", Why::kMistake}, {"--exclude=nope", Why::kMistake},
               {"--frobnicate", Why::kMistake},       {"--nodes=9 --ntasks=9", Why::kMistake}};
  int n = 0;
  for (const auto& [line, why] : cases) {
    const auto refused = submit(prefix_ + std::to_string(++n), "true\n", "#SBATCH " + std::string(line) + "\n");
    ASSERT_FALSE(refused) << line;
    EXPECT_EQ(refused.error().why, why) << line << ": " << refused.error().what;
  }
  submitted_.clear();
}

TEST_F(SlurmCluster, KnowsLimitsOfAQosForNowFromThoseOfOneJob) {
  if (text_of(std::getenv("SLURM_CONF")).find("accounting_storage/slurmdbd") == std::string::npos) return;
  ASSERT_TRUE(submit(prefix_ + "1", "sleep 1000\n", "#SBATCH --qos=few\n"));
  const auto later = submit(prefix_ + "2", "true\n", "#SBATCH --qos=few\n");
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().why, Why::kLater) << later.error().what;
  const auto never = submit(prefix_ + "3", "true\n", "#SBATCH --qos=brief --time=5\n");
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().why, Why::kMistake) << never.error().what;
  const auto account = submit(prefix_ + "4", "true\n", "#SBATCH --account=nope\n");
  ASSERT_FALSE(account);
  EXPECT_EQ(account.error().why, Why::kMistake) << account.error().what;
  const auto qos = submit(prefix_ + "5", "true\n", "#SBATCH --qos=nope\n");
  ASSERT_FALSE(qos);
  EXPECT_EQ(qos.error().why, Why::kMistake) << qos.error().what;
  submitted_ = {prefix_ + "1"};
}

TEST_F(SlurmCluster, KnowsFromAccountingHowJobsEndedThatTheControllerHasForgotten) {
  if (text_of(std::getenv("SLURM_CONF")).find("accounting_storage/slurmdbd") == std::string::npos) return;
  const std::string name = prefix_ + "1";
  const auto id = submit(name, "exit 3\n");
  ASSERT_TRUE(id);
  submitted_.clear();
  // MinJobAge, and the minute's interval at which the controller forgets.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(180);
  wait_until_over(name);
  while (seen(name) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::seconds(1));
  ASSERT_FALSE(seen(name));
  const auto past = cluster().history(std::vector{name});
  ASSERT_TRUE(past) << past.error().what;
  ASSERT_EQ(past->size(), 1u);
  EXPECT_EQ(past->front().cluster_id, *id);
  EXPECT_EQ(past->front().says, "FAILED (exit code 3)");
}

TEST_F(SlurmCluster, LeavesOutNodesOfTheScriptAndOfTheDaemon) {
  const std::string name = prefix_ + "1";
  std::filesystem::create_directories(directory_of(name));
  std::ofstream(directory_of(name) / "job.sh") << "#!/bin/bash\n#SBATCH --exclude=gpu[1-2]\ntrue\n";
  ASSERT_TRUE(cluster().submit({name, directory_of(name) / "job.sh", directory_of(name), {"gpu4"}}));
  submitted_.push_back(name);
  const auto job = wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_THAT(job->nodes, testing::ElementsAre("gpu3"));
}

TEST_F(SlurmCluster, IsNotConfusedByJobsOfOddNames) {
  const auto directory = directory_of("odd");
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "job.sh") << "#!/bin/bash\nsleep 20\n";
  const std::string odd = "odd|" + prefix_ + "1\n" + prefix_ + "1|RUNNING\nx";
  ASSERT_TRUE(run_program(
      {"sbatch", "--parsable", "--chdir=" + directory.string(), "--job-name=" + odd, (directory / "job.sh").string()},
      std::chrono::seconds(30), 1 << 20));
  const auto jobs = cluster().look(prefix_);
  ASSERT_TRUE(jobs) << jobs.error().what;
  EXPECT_TRUE(jobs->empty());
}

}  // namespace
}  // namespace orch::cluster
