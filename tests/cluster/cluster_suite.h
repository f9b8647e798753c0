// What every cluster must do, whichever way it runs jobs. A test program instantiates the suite with a fixture that
// makes one: `using Fixtures = testing::Types<…>; INSTANTIATE_TYPED_TEST_SUITE_P(Name, ClusterSuite, Fixtures);`
//
// A fixture has: cluster(), script_lines() (#SBATCH lines that it needs), limit_lines() (the shortest time limit, and a
// signal before it), patience (for a job to start and end), limit_patience (to be ended at the limit), nodes(), slots()
// (GPUs of each).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cluster/cluster.h"

namespace orch::cluster {

using control::End;
using control::event::Seen;
using Phase = Seen::Phase;
using testing::HasSubstr;

/// Fresh in every process and for every test, so that a Slurm may be shared.
inline std::string fresh_prefix() {
  static std::atomic<int> count{0};
  return "orch-t" + std::to_string(getpid()) + "x" + std::to_string(++count) + "-";
}

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

template <class Fixture>
class ClusterSuite : public testing::Test {
 protected:
  ClusterSuite() {
    std::filesystem::create_directories(folder_);
    folder_ = std::filesystem::canonical(folder_);
  }
  ~ClusterSuite() override {
    for (const std::string& name : submitted_) (void)cluster().cancel(name, "").ok();
    for (const std::string& name : submitted_)
      if (seen(name)) wait_until_over(name);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  Cluster& cluster() { return fixture_.cluster(); }

  std::filesystem::path directory_of(const std::string& name) const { return folder_ / name; }

  Result<std::string, SubmitError> submit(const std::string& name, const std::string& commands,
                                          const std::string& lines = "") {
    const auto directory = directory_of(name);
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "job.sh") << "#!/bin/bash\n"
                                        << fixture_.script_lines() << "#SBATCH --output=log-%j.out\n"
                                        << lines << commands;
    submitted_.push_back(name);
    return cluster().submit({name, directory / "job.sh", directory, {}});
  }

  std::optional<Seen> seen(const std::string& name) {
    const auto jobs = cluster().look(prefix_);
    EXPECT_TRUE(jobs) << jobs.error().what;
    if (jobs)
      for (const Seen& job : *jobs)
        if (job.name == name) return job;
    return std::nullopt;
  }

  /// Looks until `is_so` is, or patience is at its end; what was seen last.
  template <class IsSo>
  std::optional<Seen> wait_until(const std::string& name, IsSo is_so, std::chrono::seconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
      auto now = seen(name);
      if ((now && is_so(*now)) || std::chrono::steady_clock::now() > deadline) return now;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  std::optional<Seen> wait_until_over(const std::string& name) {
    return wait_until(
        name, [](const Seen& job) { return job.phase == Phase::kOver; }, fixture_.patience);
  }
  std::optional<Seen> wait_until_running(const std::string& name) {
    return wait_until(
        name, [](const Seen& job) { return job.phase == Phase::kRunning; }, fixture_.patience);
  }
  bool wait_for_file(const std::filesystem::path& path) {
    const auto deadline = std::chrono::steady_clock::now() + fixture_.patience;
    while (!std::filesystem::exists(path) && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return std::filesystem::exists(path);
  }

  Fixture fixture_;
  std::string prefix_ = fresh_prefix();
  std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / prefix_;
  std::vector<std::string> submitted_;
};

TYPED_TEST_SUITE_P(ClusterSuite);

TYPED_TEST_P(ClusterSuite, RunsAScriptInItsDirectoryAndTellsThatItIsDone) {
  const std::string name = this->prefix_ + "1";
  const auto id = this->submit(name,
                               "echo \"id $SLURM_JOB_ID, name $SLURM_JOB_NAME, restarts ${SLURM_RESTART_COUNT:-0}, "
                               "nodes $SLURM_JOB_NUM_NODES\"\npwd\necho \"$ORCH_JOB_DIR\" > told\n");
  ASSERT_TRUE(id) << id.error().what;
  const auto job = this->wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->phase, Phase::kOver) << job->says;
  EXPECT_EQ(job->end, End::kDone) << job->says;
  EXPECT_EQ(job->cluster_id, *id);
  EXPECT_EQ(job->nodes.size(), 1u);
  const auto directory = this->directory_of(name);
  EXPECT_EQ(text_of(directory / ("log-" + *id + ".out")),
            "id " + *id + ", name " + name + ", restarts 0, nodes 1\n" + directory.string() + "\n");
  EXPECT_EQ(text_of(directory / "told"), directory.string() + "\n");
}

TYPED_TEST_P(ClusterSuite, TellsAnEndByAnErrorFromOneByItself) {
  const std::string name = this->prefix_ + "1";
  ASSERT_TRUE(this->submit(name, "exit 3\n"));
  const auto job = this->wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kUnknown) << job->says;
  EXPECT_THAT(job->says, HasSubstr("FAILED"));
  const auto past = this->cluster().history(std::vector{name});
  ASSERT_TRUE(past) << past.error().what;
  ASSERT_EQ(past->size(), 1u);
  EXPECT_EQ(past->front().end, End::kUnknown);
  EXPECT_THAT(past->front().says, HasSubstr("exit code 3"));
}

TYPED_TEST_P(ClusterSuite, TellsThatAScriptWasKilled) {
  const std::string name = this->prefix_ + "1";
  ASSERT_TRUE(this->submit(name, "kill -9 $$\n"));
  const auto job = this->wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kUnknown) << job->says;
  const auto past = this->cluster().history(std::vector{name});
  ASSERT_TRUE(past) << past.error().what;
  ASSERT_EQ(past->size(), 1u);
  EXPECT_THAT(past->front().says, HasSubstr("signal 9"));
}

TYPED_TEST_P(ClusterSuite, CancelsAJobThatRunsWithAllThatItStarted) {
  const std::string name = this->prefix_ + "1";
  const auto id = this->submit(name, "sleep 1000 &\necho $! > child\nwait\n");
  ASSERT_TRUE(id) << id.error().what;
  ASSERT_TRUE(this->wait_for_file(this->directory_of(name) / "child"));
  ASSERT_TRUE(this->wait_until_running(name));
  const auto cancelled = this->cluster().cancel(name, *id);
  ASSERT_TRUE(cancelled) << cancelled.error().what;
  const auto job = this->wait_until_over(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kCancelled) << job->says;
  const pid_t child = std::stoi(text_of(this->directory_of(name) / "child"));
  const auto runs = [&] {
    const std::string stat = text_of("/proc/" + std::to_string(child) + "/stat");
    return stat.find("(sleep)") != std::string::npos && stat.find(") Z") == std::string::npos;
  };
  for (int i = 0; i < 200 && runs(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(runs());
  // Once more is harmless.
  EXPECT_TRUE(this->cluster().cancel(name, *id));
  EXPECT_TRUE(this->cluster().cancel(name, ""));
}

TYPED_TEST_P(ClusterSuite, CancelsAJobThatWaitsByItsNameAlone) {
  // As many as there is room for, and one more.
  const std::string all = "#SBATCH --gres=gpu:" + std::to_string(this->fixture_.slots()) + "\n";
  for (int i = 0; i < this->fixture_.nodes(); ++i)
    ASSERT_TRUE(this->submit(this->prefix_ + "holds" + std::to_string(i), "sleep 1000\n", all));
  for (int i = 0; i < this->fixture_.nodes(); ++i)
    ASSERT_EQ(this->wait_until_running(this->prefix_ + "holds" + std::to_string(i))->phase, Phase::kRunning);
  const std::string waits = this->prefix_ + "waits";
  ASSERT_TRUE(this->submit(waits, "touch ran\n", all));
  auto job = this->seen(waits);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->phase, Phase::kPending) << job->says;
  EXPECT_THAT(job->says, HasSubstr("PENDING"));
  ASSERT_TRUE(this->cluster().cancel(waits, ""));
  job = this->wait_until_over(waits);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kCancelled) << job->says;
  EXPECT_FALSE(std::filesystem::exists(this->directory_of(waits) / "ran"));
}

TYPED_TEST_P(ClusterSuite, CancelsNoJobThatHasTheIdAndAnotherName) {
  const std::string name = this->prefix_ + "1";
  const auto id = this->submit(name, "sleep 1000\n");
  ASSERT_TRUE(id);
  (void)this->cluster().cancel(this->prefix_ + "2", *id).ok();
  const auto job = this->wait_until_running(name);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->phase, Phase::kRunning) << job->says;
}

TYPED_TEST_P(ClusterSuite, SignalsTheScriptAndEndsItAtItsTimeLimit) {
  const std::string name = this->prefix_ + "1";
  ASSERT_TRUE(
      this->submit(name, "trap 'echo told > told' USR1\nwhile :; do sleep 0.1; done\n", this->fixture_.limit_lines()));
  const auto job = this->wait_until(
      name, [](const Seen& now) { return now.phase == Phase::kOver; }, this->fixture_.limit_patience);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->end, End::kTimeout) << job->says;
  EXPECT_EQ(text_of(this->directory_of(name) / "told"), "told\n");
}

TYPED_TEST_P(ClusterSuite, KnowsNothingOfNamesThatItNeverHeard) {
  const auto past = this->cluster().history(std::vector{this->prefix_ + "never", this->prefix_ + "neither"});
  ASSERT_TRUE(past) << past.error().what;
  EXPECT_TRUE(past->empty());
  EXPECT_FALSE(this->seen(this->prefix_ + "never"));
  EXPECT_TRUE(this->cluster().cancel(this->prefix_ + "never", ""));
  EXPECT_TRUE(this->cluster().cancel(this->prefix_ + "never", "99999999"));
}

TYPED_TEST_P(ClusterSuite, TakesTheLongestNameAndRefusesALongerOne) {
  const std::string longest = this->prefix_ + std::string(200 - this->prefix_.size(), 'n');
  const auto id = this->submit(longest, "true\n");
  ASSERT_TRUE(id) << id.error().what;
  const auto job = this->wait_until_over(longest);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->name, longest);
  EXPECT_EQ(job->end, End::kDone) << job->says;
  const std::string longer = longest + "n";
  const auto refused = this->submit(longer, "true\n");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().why, control::event::NotSubmitted::Why::kMistake);
  this->submitted_.pop_back();
}

TYPED_TEST_P(ClusterSuite, ShowsEachDaemonItsOwnJobsOnly) {
  const std::string name = this->prefix_ + "1";
  ASSERT_TRUE(this->submit(name, "sleep 1000\n"));
  const auto others = this->cluster().look(fresh_prefix());
  ASSERT_TRUE(others) << others.error().what;
  EXPECT_TRUE(others->empty());
  EXPECT_TRUE(this->seen(name));
}

TYPED_TEST_P(ClusterSuite, RefusesAsAMistakeWhatNoMachineHas) {
  const std::string name = this->prefix_ + "1";
  const auto refused = this->submit(name, "true\n", "#SBATCH --gres=gpu:99\n");
  this->submitted_.pop_back();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().why, control::event::NotSubmitted::Why::kMistake) << refused.error().what;
}

REGISTER_TYPED_TEST_SUITE_P(ClusterSuite, RunsAScriptInItsDirectoryAndTellsThatItIsDone,
                            TellsAnEndByAnErrorFromOneByItself, TellsThatAScriptWasKilled,
                            CancelsAJobThatRunsWithAllThatItStarted, CancelsAJobThatWaitsByItsNameAlone,
                            CancelsNoJobThatHasTheIdAndAnotherName, SignalsTheScriptAndEndsItAtItsTimeLimit,
                            KnowsNothingOfNamesThatItNeverHeard, TakesTheLongestNameAndRefusesALongerOne,
                            ShowsEachDaemonItsOwnJobsOnly, RefusesAsAMistakeWhatNoMachineHas);

}  // namespace orch::cluster
