// A worker's life, with real programs and a daemon that is played.
#include "run/loop.h"

#include <gmock/gmock.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <fstream>
#include <functional>
#include <mutex>

#include "support/temporary.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using namespace std::chrono_literals;

/// Leases what it has, remembers what it is told.
class PlayedDaemon : public Transport {
 public:
  Reply call(std::string_view verb, const std::string& body) override {
    const std::lock_guard lock(mutex_);
    calls.emplace_back(verb);
    if (away > 0 && verb != "claim") {
      --away;
      return {Reply::What::kAway, "", "away"};
    }
    if (gone) return {Reply::What::kGone, "", "superseded"};
    if (verb == "claim") return ok(wire::Claimed{1, 60, 0.05, idle, false});
    if (verb == "exit") {
      exits.push_back(wire::read<wire::Exit>(body)->end);
      return {Reply::What::kOk, "{}", ""};
    }
    if (verb == "heartbeat") {
      wire::Beat beat;
      beat.drop = drop;
      beat.drain = drain;
      return ok(beat);
    }
    if (verb == "deliver") {
      const auto deliver = wire::read<wire::Deliver>(body);
      delivered.insert(delivered.end(), deliver->items.begin(), deliver->items.end());
      return ok(wire::Acknowledged{});
    }
    wire::Given given;
    const std::size_t count = std::min(most, cells.size());
    given.leased.assign(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(count));
    cells.erase(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(count));
    given.nothing_left = count == 0 && ends;
    given.retry_after = 0.02;
    if (on_lease) on_lease();
    return ok(given);
  }

  void add(std::uint32_t cell, const std::string& script, double gpus = 0, double time = 60) {
    wire::Leased leased;
    leased.chunk = {cell, 0};
    leased.ticket = 100 + cell;
    leased.run = {"sh", "-c", script};
    leased.environment = {"PATH=/usr/bin:/bin"};
    leased.folder = "cells/" + std::to_string(cell);
    leased.time_limit = time;
    leased.gpus = gpus;
    leased.engine = "command";
    cells.push_back(leased);
  }
  std::vector<std::string> what() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> list;
    for (const auto& item : delivered) list.push_back(std::to_string(item.chunk.cell) + " " + item.what);
    std::sort(list.begin(), list.end());
    return list;
  }

  std::deque<wire::Leased> cells;
  std::vector<wire::Delivered> delivered;
  std::vector<wire::Chunk> drop;
  std::vector<std::string> calls, exits;
  std::function<void()> on_lease;
  std::size_t most = 64;
  int away = 0;
  double idle = 0.3;  ///< seconds
  bool ends = true, drain = false;
  std::atomic<bool> gone = false;

 private:
  template <class Message>
  static Reply ok(const Message& message) {
    return {Reply::What::kOk, wire::write(message), ""};
  }
  std::mutex mutex_;
};

constexpr const char* kWell = "echo '{\"acc\": 0.5}' > result.json";

class LoopTest : public testing::Test {
 protected:
  wire::Exit run(LoopOptions options = {}, int signals = -1) {
    options.cluster_id = "100";
    return Loop(std::move(options), directory_, *Spool::open(folder_ / "spool"), daemon_).run(signals);
  }
  static LoopOptions with(std::vector<std::string> gpus, int cpus) {
    LoopOptions options;
    options.gpus = std::move(gpus);
    options.cpus = cpus;
    return options;
  }
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
