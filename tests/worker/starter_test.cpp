// The helper that starts programs, and what is left when somebody is killed.
#include "run/starter.h"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "support/temporary.h"
#include "worker/processes.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;
using namespace test;

class StarterTest : public testing::Test {
 protected:
  Order order(const std::string& script) const {
    return {{"sh", "-c", script}, {"PATH=/usr/bin:/bin"}, folder_.path(), folder_ / "log"};
  }
  static int status_of(Starter& starter, std::uint64_t number) {
    for (;;) {
      if (const auto status = starter.ended(number)) return *status;
      if (!can_be_read(starter.descriptor())) return -1;
    }
  }
  TemporaryFolder folder_;
};

TEST_F(StarterTest, TellsOfEveryEndOnce) {
  Starter starter = *Starter::fork();
  std::vector<std::uint64_t> numbers;
  numbers.reserve(20);
  for (int code = 0; code < 20; ++code) numbers.push_back(starter.start(order("exit " + std::to_string(code)))->number);
  for (int code = 19; code >= 0; --code) {
    const int status = status_of(starter, numbers[static_cast<std::size_t>(code)]);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), code);
    EXPECT_EQ(starter.ended(numbers[static_cast<std::size_t>(code)]), std::nullopt);
  }
}

TEST_F(StarterTest, PassesWordsOfAnyLength) {
  Starter starter = *Starter::fork();
  // Linux allows 128 KiB a word, and far more in all; the socket holds less.
  Order many = order("cat \"$0\" > /dev/null; echo ${#1}; echo $#");
  many.run.push_back("/dev/null");
  for (int i = 0; i < 10; ++i) many.run.emplace_back(100'000, 'x');
  const auto started = starter.start(many);
  ASSERT_TRUE(started.ok()) << started.error().what;
  EXPECT_EQ(status_of(starter, started->number), 0);
  EXPECT_EQ(text_of(folder_ / "log"), "100000\n10\n");
}

TEST_F(StarterTest, GivesProgramsNoDescriptorOfOurs) {
  // Not marked to be closed: before the helper was forked, and after.
  const int early = ::open("/dev/zero", O_RDONLY);
  Starter starter = *Starter::fork();
  const int late = ::open("/dev/zero", O_RDONLY);
  const auto started = starter.start(order("ls -l /proc/self/fd"));
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(status_of(starter, started->number), 0);
  const std::string log = text_of(folder_ / "log");
  EXPECT_THAT(log, HasSubstr(" 0 -> /dev/null"));
  EXPECT_THAT(log, HasSubstr(" 2 -> " + (folder_ / "log").string()));
  EXPECT_THAT(log, Not(HasSubstr("/dev/zero")));
  EXPECT_THAT(log, Not(HasSubstr("socket:")));
  EXPECT_THAT(log, Not(HasSubstr("signalfd")));
  ::close(early);
  ::close(late);
}

TEST_F(StarterTest, LeavesTheSignalBeforeTheTimeLimitToTheWorker) {
  Starter starter = *Starter::fork();
  // Some of Slurm's settings send it to every process.
  const auto started = starter.start(order("kill -USR1 $$; exit 3"));
  const int status = status_of(starter, started->number);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST_F(StarterTest, LeavesNoZombie) {
  Starter starter = *Starter::fork();
  // A child leaves the group, its parent ends, and then it ends too: as an orphan it is the helper's to collect.
  Bell bell(folder_ / "bell");
  for (const char* gate : {"leader", "orphan"}) ASSERT_EQ(::mkfifo((folder_ / gate).c_str(), 0600), 0);
  const auto started = starter.start(order("setsid sh -c 'echo $$ > bell; cat orphan' & cat leader"));
  const pid_t orphan = std::stoi(bell.wait());
  std::ofstream(folder_ / "leader") << "";
  EXPECT_EQ(status_of(starter, started->number), 0);
  EXPECT_EQ(::kill(orphan, 0), 0);
  std::ofstream(folder_ / "orphan") << "";
  ASSERT_TRUE(ends(orphan));
  // The next program's end is told after the helper has collected what ended before.
  EXPECT_EQ(status_of(starter, starter.start(order("true"))->number), 0);
  std::string stat = text_of("/proc/" + std::to_string(orphan) + "/stat");
  EXPECT_THAT(stat, Not(HasSubstr(") Z "))) << stat;
}

TEST_F(StarterTest, KillsAllWhenTheWorkerIsKilled) {
  Bell bell(folder_ / "bell");
  const pid_t worker = ::fork();
  ASSERT_GE(worker, 0);
  if (worker == 0) {
    Starter starter = *Starter::fork();
    // The leader, a child of its group, and one that has left it.
    const auto started = starter.start(
        order("trap '' TERM; sleep 600 & echo $! > bell; setsid sleep 600 & echo $! > bell; echo $$ > bell; wait"));
    std::ofstream(bell.path()) << starter.pid() << std::endl;
    for (;;) ::pause();
  }
  std::vector<pid_t> processes;
  processes.reserve(4);
  for (int i = 0; i < 4; ++i) processes.push_back(std::stoi(bell.wait()));
  ::kill(worker, SIGKILL);
  EXPECT_EQ(::waitpid(worker, nullptr, 0), worker);
  for (const pid_t process : processes) EXPECT_TRUE(ends(process)) << process;
}

TEST_F(StarterTest, KillsAllWhenItEnds) {
  Bell bell(folder_ / "bell");
  pid_t helper = -1;
  {
    Starter starter = *Starter::fork();
    helper = starter.pid();
    ASSERT_TRUE(starter.start(order("trap '' TERM; echo $$ > bell; while :; do sleep 600; done")).ok());
    bell.wait();
  }
  EXPECT_EQ(::kill(helper, 0), -1) << "it was waited for";
}

TEST_F(StarterTest, TakesItsProgramsWithItWhenItIsKilled) {
  Starter starter = *Starter::fork();
  Bell bell(folder_ / "bell");
  const auto started = starter.start(order("sleep 600 & echo $! > bell; wait"));
  const pid_t child = std::stoi(bell.wait());
  ::kill(starter.pid(), SIGKILL);
  EXPECT_EQ(status_of(starter, started->number), SIGKILL);
  EXPECT_FALSE(starter.alive());
  EXPECT_TRUE(ends(started->pid));
  EXPECT_TRUE(ends(child));
  const auto after = starter.start(order("true"));
  ASSERT_FALSE(after.ok());
  EXPECT_FALSE(after.error().of_program);
}

TEST_F(StarterTest, OutlivesTheSignalsOfTheWorkersGroup) {
  Starter starter = *Starter::fork();
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) ::kill(starter.pid(), signal);
  EXPECT_EQ(status_of(starter, starter.start(order("true"))->number), 0);
  EXPECT_NE(::getpgid(starter.pid()), ::getpgrp());
}

TEST_F(StarterTest, BindsProgramsToTheCpusOfTheJob) {
  cpu_set_t all, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  Starter starter = *Starter::fork();
  starter.use_cpus(one);
  EXPECT_EQ(status_of(starter, starter.start(order("nproc"))->number), 0);
  EXPECT_EQ(text_of(folder_ / "log"), "1\n");
}

}  // namespace
}  // namespace orch::worker
