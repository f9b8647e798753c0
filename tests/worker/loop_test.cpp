// A worker's life, with real programs and a daemon that is played.
#include "run/loop.h"

#include <gmock/gmock.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/whole_file.h"

#include "support/temporary.h"
#include "worker/played_daemon.h"
#include "worker/processes.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using namespace std::chrono_literals;
using namespace test;

class LoopTest : public testing::Test {
 protected:
  wire::Exit run(LoopOptions options = {}, int signals = -1) {
    options.cluster_id = "100";
    return Loop(std::move(options), directory_, *Spool::open(folder_ / "spool"), daemon_, starter_).run(signals);
  }
  static LoopOptions with(std::vector<std::string> gpus, int cpus) {
    LoopOptions options;
    options.gpus = std::move(gpus);
    options.cpus = cpus;
    return options;
  }
  Starter starter_ = *Starter::fork();
  TemporaryFolder folder_;
  JobDirectory directory_{folder_.path()};
  PlayedDaemon daemon_;
};

TEST_F(LoopTest, RunsWhatItGetsDeliversItAndEnds) {
  daemon_.add(1, kWell);
  daemon_.add(2, "echo broken; exit 3");
  daemon_.add(3, "true");
  daemon_.add(4, "sleep 600", 0, 0.1);
  EXPECT_EQ(run().end, "done");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 failed", "3 failed", "4 failed"));
  for (const wire::Delivered& item : daemon_.delivered) {
    if (item.chunk.cell == 1) EXPECT_EQ(item.metrics, R"({"acc":{"value":0.5}})");
    if (item.chunk.cell == 2) EXPECT_THAT(item.reason, HasSubstr("exit code 3; the end of its log: broken"));
    if (item.chunk.cell == 3) EXPECT_EQ(item.cause, "bad_input") << "it wrote no result";
    if (item.chunk.cell == 4) EXPECT_EQ(item.cause, "timeout");
  }
  EXPECT_THAT(daemon_.exits, ElementsAre("done"));
  EXPECT_EQ((*directory_.read_exit())->end, "done");
  EXPECT_THAT(*read_spool(folder_ / "spool"), SizeIs(0));
}

TEST_F(LoopTest, GivesEachCellItsGpusAndNeverMoreThanThereAre) {
  // Each cell says which GPUs it sees, and fails if another one has its GPU at the same time.
  const std::string alone =
      "mkdir ../../gpu-$CUDA_VISIBLE_DEVICES || exit 9; sleep 0.05; rmdir ../../gpu-$CUDA_VISIBLE_DEVICES; " +
      std::string(kWell);
  for (std::uint32_t cell = 1; cell <= 8; ++cell) daemon_.add(cell, alone, 1);
  run(with({"3", "5"}, 8));
  EXPECT_THAT(daemon_.what(),
              ElementsAre("1 done", "2 done", "3 done", "4 done", "5 done", "6 done", "7 done", "8 done"));
}

TEST_F(LoopTest, TellsEachProgramItsPartOfTheGpus) {
  const std::string tell =
      "echo \"$CUDA_VISIBLE_DEVICES|$ORCH_GPUS|${CUDA_MPS_ACTIVE_THREAD_PERCENTAGE:-all}\" > said; " +
      std::string(kWell);
  daemon_.add(1, tell, 0);
  daemon_.add(2, tell, 0.25);
  daemon_.add(3, tell, 2);
  for (auto& leased : daemon_.cells) leased.environment.push_back("CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7");
  LoopOptions options = with({"3", "5", "6"}, 3);
  options.environment = {"CUDA_VISIBLE_DEVICES=3,5,6", "PATH=/nowhere"};
  run(options);
  EXPECT_EQ(text_of(folder_ / "cells/1/said"), "|0|all\n");
  EXPECT_EQ(text_of(folder_ / "cells/2/said"), "3|1|25\n");
  EXPECT_EQ(text_of(folder_ / "cells/3/said"), "5,6|2|all\n");
}

TEST_F(LoopTest, TakesItsPartOfAProgramOfSeveralNodes) {
  daemon_.add(1, "echo \"$CUDA_VISIBLE_DEVICES\" > said; " + std::string(kWell), 4);
  daemon_.cells.front().cpus = 8;
  LoopOptions options = with({"0", "1"}, 4);
  options.spread = 2;
  EXPECT_EQ(run(options).end, "done");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
  EXPECT_EQ(text_of(folder_ / "cells/1/said"), "0,1\n");
}

TEST_F(LoopTest, DoesNotHoldWhatItNeverHasRoomFor) {
  daemon_.add(1, kWell, 4);  // the node shows fewer GPUs than the job was given
  daemon_.add(2, kWell, 1);
  EXPECT_EQ(run(with({"0", "1"}, 2)).end, "done");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 failed", "2 done"));
  for (const wire::Delivered& item : daemon_.delivered)
    if (item.chunk.cell == 1) {
      EXPECT_EQ(item.cause, "load_failed");
      EXPECT_THAT(item.reason, HasSubstr("sees 2 GPUs"));
    }
}

TEST_F(LoopTest, LetsProgramsShareAGpuAsFarAsTheirPartsGo) {
  Bell bell(folder_ / "bell");
  // Each waits until the other is there too, on one GPU.
  const std::string meet = "echo > ../../bell; until [ -e ../../go ]; do sleep 0.01; done; " + std::string(kWell);
  daemon_.add(1, meet, 0.5);
  daemon_.add(2, meet, 0.5);
  std::thread meeting([&] {
    bell.wait();
    bell.wait();
    std::ofstream(folder_ / "go") << "";
  });
  run(with({"0"}, 2));
  meeting.join();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 done"));
}

TEST_F(LoopTest, TellsCausesApart) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"echo torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB; exit 1", "gpu_memory"},
      {"echo RuntimeError: CUDA_ERROR_OUT_OF_MEMORY; seq 100; kill -ABRT $$", "gpu_memory"},
      {"kill -KILL $$", "host_memory"},
      {"sh -c 'kill -KILL $$'; exit $?", "host_memory"},
      {"no-such-program", "bad_input"},
      {"exit 1", "unknown"},
      {"true", "bad_input"},
      {"echo '{\"acc\": \"high\"}' > result.json", "bad_input"},
      {"echo CUDA out of memory, caught; echo '{\"acc\": 1}' > result.json", ""}};
  for (std::uint32_t i = 0; i < table.size(); ++i) daemon_.add(i, table[i].first);
  daemon_.add(99, "");
  daemon_.cells.back().run = {"no-such-program"};
  run();
  ASSERT_THAT(daemon_.delivered, SizeIs(table.size() + 1));
  for (const wire::Delivered& item : daemon_.delivered) {
    if (item.chunk.cell == 99) {
      EXPECT_EQ(item.cause, "bad_input");
      EXPECT_THAT(item.reason, HasSubstr("'no-such-program': No such file"));
    } else {
      EXPECT_EQ(item.cause, table[item.chunk.cell].second) << table[item.chunk.cell].first << ": " << item.reason;
    }
    if (item.chunk.cell == 0) EXPECT_THAT(item.reason, HasSubstr("Tried to allocate 2 GiB")) << "the end of its log";
    if (item.chunk.cell == 6) EXPECT_THAT(item.reason, HasSubstr("it wrote no result.json"));
    if (item.chunk.cell == 7) EXPECT_THAT(item.reason, HasSubstr("'acc' is neither a finite number"));
  }
}

TEST_F(LoopTest, TakesNoResultThatAnEarlierStartOfTheAttemptLeft) {
  std::filesystem::create_directories(folder_ / "cells/1");
  std::ofstream(folder_ / "cells/1/result.json") << R"({"acc": 0.25})";
  daemon_.add(1, "true");
  run();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 failed"));
}

TEST_F(LoopTest, KeepsTheAttemptsOfACellApart) {
  daemon_.add(1, "echo first > mine; exit 1");
  daemon_.cells.back().folder = "cells/1-1";
  daemon_.ends = false;
  daemon_.on_deliver = [&](const wire::Delivered& delivered) {
    if (delivered.ticket == 7) return;
    daemon_.add(1, "ls; echo second > mine; " + std::string(kWell));
    daemon_.cells.back().folder = "cells/1-2";
    daemon_.cells.back().ticket = 7;
    daemon_.ends = true;
  };
  run();
  EXPECT_EQ(text_of(folder_ / "cells/1-1/mine"), "first\n");
  EXPECT_EQ(text_of(folder_ / "cells/1-2/mine"), "second\n");
  EXPECT_EQ(text_of(folder_ / "cells/1-2/log"), "log\n") << "it began with its log alone";
}

TEST_F(LoopTest, GivesBackWhatRanWhenItsHelperIsKilled) {
  Bell bell(folder_ / "bell");
  daemon_.add(1, "echo > ../../bell; sleep 600");
  daemon_.add(2, kWell);
  std::thread killer([&] {
    bell.wait();
    ::kill(starter_.pid(), SIGKILL);
  });
  const wire::Exit exit = run();
  killer.join();
  EXPECT_EQ(exit.end, "unknown");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned", "2 returned"));
}

TEST_F(LoopTest, BeginsNothingThatWasOnItsWayWhenItWasToldToDrain) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
  const int signals = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  daemon_.add(1, kWell);
  // The signal comes while the daemon is about to answer, and the answer only after it was heard.
  daemon_.on_lease = [&] {
    ::kill(::getpid(), SIGUSR1);
    while (can_be_read(signals, 0ms)) std::this_thread::sleep_for(1ms);
  };
  EXPECT_EQ(run({}, signals).end, "drained");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned"));
  ::close(signals);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(LoopTest, BlamesNoProgramThatASignalToTheWholeJobReachedFirst) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
  const int signals = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  Bell bell(folder_ / "bell");
  daemon_.add(1, "echo > ../../bell; kill -TERM $$");
  // As scancel does it: every process of the job is signalled, one after another.
  std::thread slurm([&] {
    bell.wait();
    std::this_thread::sleep_for(200ms);
    ::kill(::getpid(), SIGTERM);
  });
  EXPECT_EQ(run({}, signals).end, "drained");
  slurm.join();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned"));
  ::close(signals);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(LoopTest, DeliversWhatItHasEvenWhenItIsSuperseded) {
  daemon_.add(1, kWell);
  daemon_.gone_verb = "lease";
  daemon_.on_lease = [&] { daemon_.gone = true; };
  EXPECT_EQ(run().end, "superseded");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done")) << "a lower epoch may still deliver";
  EXPECT_THAT(daemon_.exits, SizeIs(0));
}

TEST_F(LoopTest, SaysSoWhenTheDaemonNeverAnswered) {
  daemon_.absent = true;
  LoopOptions options;
  options.time = 1s;
  options.drain = 1s;
  EXPECT_NE(run(options).end, "done");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "exit.json"));
}

TEST_F(LoopTest, ClaimsNothingOfAJobThatAnEarlierCopyEnded) {
  wire::Exit ended;
  ended.end = "drained";
  ASSERT_TRUE(directory_.write_exit(ended));
  daemon_.absent = true;
  const auto begun = Loop::Clock::now();
  const wire::Exit exit = run();
  EXPECT_EQ(exit.end, "superseded");
  EXPECT_THAT(exit.reason, HasSubstr("drained"));
  EXPECT_LT(Loop::Clock::now() - begun, 10s) << "it would wait ten minutes for the daemon";
  EXPECT_THAT(daemon_.calls, SizeIs(0));
  EXPECT_EQ((*directory_.read_exit())->end, "drained") << "those stay the last words";
}

TEST_F(LoopTest, ClaimsAgainAndAgainWhileTheDaemonIsAwayUntilAnOlderCopyEndsTheJob) {
  daemon_.absent = true;
  daemon_.on_call = [&] {
    if (daemon_.calls.size() < 2) return;
    wire::Exit ended;
    ended.end = "done";
    ASSERT_TRUE(directory_.write_exit(ended));
  };
  const wire::Exit exit = run();
  EXPECT_EQ(exit.end, "superseded");
  EXPECT_THAT(daemon_.calls, ElementsAre("claim", "claim"));
}

TEST_F(LoopTest, LosesNothingWhileTheDaemonIsAway) {
  daemon_.add(1, kWell);
  daemon_.on_lease = [&] { daemon_.away = daemon_.cells.empty() && daemon_.calls.size() < 4 ? 3 : daemon_.away; };
  daemon_.idle = 60;
  EXPECT_EQ(run().end, "done");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
  EXPECT_EQ(daemon_.away, 0) << "it was away, and came back";
}

TEST_F(LoopTest, DeliversFirstWhatAnEarlierCopyLeft) {
  {
    auto spool = Spool::open(folder_ / "spool");
    wire::Delivered item;
    item.chunk = {9, 0};
    item.what = "done";
    ASSERT_TRUE(spool->append(item).ok());
  }
  run();
  EXPECT_THAT(daemon_.what(), ElementsAre("9 done"));
  EXPECT_THAT(daemon_.calls, ElementsAre("claim", "deliver", "heartbeat", "lease", "exit"));
}

TEST_F(LoopTest, DrainsOnASignalAndGivesBackWhatHasNotBegun) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
  const int signals = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  // The first cell sends the signal itself, and ends well after it.
  daemon_.add(1, "kill -USR1 " + std::to_string(::getpid()) + "; sleep 0.2; " + kWell);
  daemon_.add(2, kWell);
  daemon_.ends = false;
  const wire::Exit exit = run({}, signals);
  EXPECT_EQ(exit.end, "drained");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 returned")) << "of one CPU the second had to wait";
  ::close(signals);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(LoopTest, EndsThoseItIsToldToLeave) {
  daemon_.add(1, "sleep 600");
  daemon_.drop = {{1, 0}};
  EXPECT_EQ(run().end, "done");
  EXPECT_THAT(daemon_.what(), SizeIs(0));
}

TEST_F(LoopTest, LeavesWithoutLastWordsWhenAnotherCopyWorks) {
  daemon_.add(1, "sleep 600");
  daemon_.on_lease = [&] { daemon_.gone = daemon_.cells.empty(); };
  EXPECT_EQ(run().end, "superseded");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "exit.json"));
}

TEST_F(LoopTest, EndsInTimeByItself) {
  daemon_.add(1, "sleep 600");
  LoopOptions options;
  options.time = 1s;
  options.drain = 0s;
  EXPECT_EQ(run(options).end, "drained");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned")) << "we ended it: it is not to blame";
}

TEST_F(LoopTest, GivesTheGpusBackWhenNothingCame) {
  daemon_.ends = false;
  EXPECT_EQ(run().end, "done") << "after the idle time-out of 0.3 s";
}

TEST_F(LoopTest, IsNotIdleWhileALeaseIsOnItsWay) {
  daemon_.add(1, kWell);
  daemon_.idle = 0.5;
  daemon_.on_lease = [] { std::this_thread::sleep_for(1500ms); };  // past a look at the time
  EXPECT_EQ(run().end, "done");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
}

TEST(FileTransport, AsksAndIsAnsweredByFiles) {
  const TemporaryFolder folder;
  FileTransport transport(folder.path(), 5s);
  std::thread daemon([&] {
    const std::filesystem::path question = folder / "mail/out/000001-lease.json";
    while (!std::filesystem::exists(question)) std::this_thread::sleep_for(1ms);
    static_cast<void>(write_whole(folder / "mail/in/000001.json", R"({"status": 200, "body": {"a": 1}})"));
  });
  const Reply reply = transport.call("lease", "{}");
  daemon.join();
  EXPECT_EQ(reply.what, Reply::What::kOk);
  EXPECT_EQ(reply.body, R"({"a":1})");
  FileTransport later(folder.path(), 10ms);
  EXPECT_EQ(later.call("lease", "{}").what, Reply::What::kAway);
  EXPECT_FALSE(std::filesystem::exists(folder / "mail/out/000002-lease.json"))
      << "it is said again, under another number";
}

}  // namespace
}  // namespace orch::worker
