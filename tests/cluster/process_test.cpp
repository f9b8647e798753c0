#include "cluster/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

namespace orch::cluster {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr, testing::Not;

constexpr std::size_t kPlenty = 1 << 20;

/// Sets a variable of the environment, and puts back at its end what was there.
class Variable {
 public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str())) before_ = before;
    setenv(name_.c_str(), value.c_str(), 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() {
    if (before_)
      setenv(name_.c_str(), before_->c_str(), 1);
    else
      unsetenv(name_.c_str());
  }

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// Once killed it may still be known until the process that adopted it reaps it: then it is gone, or a zombie (Z).
bool runs(long id) {
  std::ifstream stat("/proc/" + std::to_string(id) + "/stat");
  std::string word, letter;
  return stat >> word >> word >> letter && letter != "Z" && letter != "X";
}

TEST(Process, GivesWhatTheProgramPrintedOnEachStream) {
  const auto ran = run_program({"sh", "-c", "printf out; printf err >&2"}, 20s, kPlenty);
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(ran->out, "out");
  EXPECT_EQ(ran->err, "err");
}

TEST(Process, PassesArgumentsThroughNoShell) {
  const auto ran = run_program({"printf", "%s|", "$(id)", "a b", "'\"\n", "*"}, 20s, kPlenty);
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(ran->out, "$(id)|a b|'\"\n|*|");
}

TEST(Process, HasAnEmptyStandardInput) {
  const auto ran = run_program({"cat"}, 20s, kPlenty);
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(ran->out, "");
}

TEST(Process, ReadsMoreThanAPipeHolds) {
  // A pipe holds 64 KiB; both streams are filled beyond it, one after the other, which a reader of one only would hang
  // on.
  const auto ran = run_program({"sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"}, 20s, kPlenty);
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(ran->out.size(), 300000u);
  EXPECT_EQ(ran->err.size(), 300000u);
}

TEST(Process, SaysThatAProgramIsNotThere) {
  for (const char* name : {"orch-no-such-program", "/nowhere/at/all", ""}) {
    const auto ran = run_program({name}, 20s, kPlenty);
    ASSERT_FALSE(ran) << name;
    EXPECT_EQ(ran.error().kind, RunFailure::kNotFound) << ran.error().what;
  }
  ASSERT_FALSE(run_program({}, 20s, kPlenty));
}

TEST(Process, TellsTheCodeAndTheLastWordsOfAProgramThatEndsBadly) {
  const auto ran =
      run_program({"sh", "-c", "echo first >&2; echo slurm_load_partitions: no >&2; exit 3"}, 20s, kPlenty);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, RunFailure::kNonZero);
  EXPECT_EQ(ran.error().code, 3);
  EXPECT_EQ(ran.error().what, "'sh' ended with code 3: slurm_load_partitions: no");
}

TEST(Process, TellsASignalFromACode) {
  const auto ran = run_program({"sh", "-c", "kill -TERM $$"}, 20s, kPlenty);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, RunFailure::kNonZero);
  EXPECT_EQ(ran.error().code, 128 + SIGTERM);
}

TEST(Process, EndsAProgramThatTakesTooLongWithWhatItStarted) {
  // The grandchild writes its id and would outlive its parent by an hour, holding the pipe open.
  const auto file = std::filesystem::path(testing::TempDir()) / "orch_process_grandchild";
  std::filesystem::remove(file);
  const auto begin = std::chrono::steady_clock::now();
  const auto ran =
      run_program({"sh", "-c", "sleep 3600 & echo $! > \"$1\"; wait", "sh", file.string()}, 500ms, kPlenty);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, RunFailure::kTimedOut) << ran.error().what;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  long id = 0;
  std::ifstream(file) >> id;
  ASSERT_GT(id, 1);
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (runs(id) && std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_FALSE(runs(id));
  std::filesystem::remove(file);
}

TEST(Process, EndsWithTheOneThatRunsIt) {
  const auto file = std::filesystem::path(testing::TempDir()) / "orch_process_orphan";
  std::filesystem::remove(file);
  const pid_t runner = fork();
  ASSERT_GE(runner, 0);
  if (runner == 0) {
    (void)run_program({"sh", "-c", "echo $$ > \"$1.new\"; mv \"$1.new\" \"$1\"; exec sleep 3600", "sh", file.string()},
                      3600s, kPlenty);
    _exit(0);
  }
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!std::filesystem::exists(file) && std::chrono::steady_clock::now() < deadline) usleep(1000);
  long id = 0;
  std::ifstream(file) >> id;
  kill(runner, SIGKILL);
  ASSERT_EQ(waitpid(runner, nullptr, 0), runner);
  ASSERT_GT(id, 1);
  while (runs(id) && std::chrono::steady_clock::now() < deadline) usleep(1000);
  EXPECT_FALSE(runs(id));
  kill(static_cast<pid_t>(id), SIGKILL);  // should it have stayed
  std::filesystem::remove(file);
}

TEST(Process, EndsAProgramThatClosesItsOutputAndGoesOn) {
  const auto ran = run_program({"sh", "-c", "exec >&- 2>&-; sleep 3600"}, 300ms, kPlenty);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, RunFailure::kTimedOut);
}

TEST(Process, StopsReadingAProgramThatPrintsWithoutEnd) {
  const auto ran = run_program({"cat", "/dev/zero"}, 60s, 1 << 16);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, RunFailure::kTooMuch);
  EXPECT_THAT(ran.error().what, HasSubstr("64"));
}

TEST(Process, AllowsOutputOfExactlyTheMostThatIsRead) {
  const auto ran = run_program({"printf", "12345678"}, 20s, 8);
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(ran->out, "12345678");
  const auto over = run_program({"printf", "123456789"}, 20s, 8);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().kind, RunFailure::kTooMuch);
}

TEST(Process, KeepsFromTheProgramWhatWouldChangeTheFormOfItsAnswers) {
  const Variable format("SINFO_FORMAT", "%N"), sort("SQUEUE_SORT", "i"), clusters("SLURM_CLUSTERS", "all"),
      time("SLURM_TIME_FORMAT", "relative"), conf("SLURM_CONF", "/etc/slurm/own.conf");
  const auto ran = run_program({"env"}, 20s, kPlenty);
  ASSERT_TRUE(ran) << ran.error().what;
  for (const char* name : {"SINFO_", "SQUEUE_", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"})
    EXPECT_THAT(ran->out, Not(HasSubstr(name)));
  // Which Slurm is asked is the user's to say.
  EXPECT_THAT(ran->out, HasSubstr("SLURM_CONF=/etc/slurm/own.conf"));
  EXPECT_THAT(ran->out, HasSubstr("LC_ALL=C\n"));
}

TEST(Process, LeavesNoChildToWaitFor) {
  (void)run_program({"true"}, 20s, kPlenty);
  (void)run_program({"false"}, 20s, kPlenty);
  (void)run_program({"sleep", "3600"}, 50ms, kPlenty);
  (void)run_program({"orch-no-such-program"}, 20s, kPlenty);
  errno = 0;
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace orch::cluster
