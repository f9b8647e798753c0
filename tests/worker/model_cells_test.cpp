// A worker's life with cells of the native engine, which is played: what it is given, and what becomes of what it says.
#include <gmock/gmock.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "run/loop.h"
#include "support/temporary.h"
#include "worker/played_daemon.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;
using namespace test;

/// Ends each chunk as `outcomes` says, by its cell; without one it goes on until it is stopped.
class PlayedEngine : public ModelEngine {
 public:
  ~PlayedEngine() override { ::close(ready_); }
  Result<std::unique_ptr<Work>> start(const wire::Leased& leased, const std::filesystem::path& folder,
                                      const std::filesystem::path& job, std::vector<int> ranks) override {
    began[leased.chunk.cell] = std::move(ranks);
    folders.push_back(folder.lexically_relative(job).string());
    const auto outcome = outcomes.find(leased.chunk.cell);
    if (outcome == outcomes.end() && on_endless) on_endless();
    return std::unique_ptr<Work>(
        std::make_unique<Played>(outcome == outcomes.end() ? std::nullopt : std::optional(outcome->second), trains));
  }
  int descriptor() const override { return ready_; }
  void look() override {}
  std::optional<std::string> lost() const override { return gone; }
  std::vector<std::string> loaded() const override { return {"a model"}; }
  std::vector<int> ranks_with(const std::string& loads) const override {
    const auto at = have.find(loads);
    return at == have.end() ? std::vector<int>() : at->second;
  }

  std::map<std::uint32_t, Outcome> outcomes;
  std::map<std::string, std::vector<int>> have;  ///< ranks, by what they have loaded
  std::map<std::uint32_t, std::vector<int>> began;
  std::vector<std::string> folders;
  std::function<void()> on_endless;
  std::optional<std::string> gone;
  bool trains = false;

 private:
  class Played : public Work {
   public:
    Played(std::optional<Outcome> outcome, bool trains) : outcome_(std::move(outcome)), trains_(trains) {}
    void stop(Clock::duration) override {
      if (!outcome_) outcome_.emplace().what = Outcome::What::kStopped;
    }
    std::optional<Outcome> poll(Clock::time_point) override { return outcome_; }
    Clock::time_point due() const override { return Clock::now() + 10ms; }
    std::int64_t done() const override { return 3; }
    std::int64_t all() const override { return 7; }
    std::string live() const override { return R"({"step": 3})"; }
    bool goes_on_elsewhere() const override { return trains_; }

   private:
    std::optional<Outcome> outcome_;
    const bool trains_;
  };
  int ready_ = ::eventfd(0, EFD_CLOEXEC);
};

class ModelCells : public testing::Test {
 protected:
  wire::Exit run(LoopOptions options, bool with_engine = true) {
    options.cluster_id = "100";
    return Loop(std::move(options), directory_, *Spool::open(folder_ / "spool"), daemon_, starter_,
                with_engine ? &engine_ : nullptr)
        .run(-1);
  }
  static LoopOptions with(std::vector<std::string> gpus, int nodes = 1) {
    LoopOptions options;
    options.gpus = std::move(gpus);
    options.cpus = 8;
    options.spread = nodes;
    return options;
  }
  void add(std::uint32_t cell, double gpus, const std::string& loads = "a model") {
    daemon_.add(cell, "", gpus);
    daemon_.cells.back().engine = "native";
    daemon_.cells.back().run.clear();
    daemon_.cells.back().ask.emplace().loads = loads;
  }
  static Outcome done() {
    Outcome outcome;
    outcome.what = Outcome::What::kDone;
    outcome.metrics = R"({"acc":{"value":1}})";
    outcome.figures = R"({"tokens":5})";
    outcome.seconds = 2;
    return outcome;
  }
  Starter starter_ = *Starter::fork();
  TemporaryFolder folder_;
  JobDirectory directory_{folder_.path()};
  PlayedDaemon daemon_;
  PlayedEngine engine_;
};

TEST_F(ModelCells, AreDeliveredWithWhatWasCounted) {
  add(1, 2);
  engine_.outcomes[1] = done();
  EXPECT_EQ(run(with({"0", "1"})).end, "done");
  ASSERT_THAT(daemon_.delivered, SizeIs(1));
  EXPECT_EQ(daemon_.delivered[0].metrics, R"({"acc":{"value":1}})");
  EXPECT_EQ(daemon_.delivered[0].figures, R"({"tokens":5})");
  EXPECT_EQ(daemon_.delivered[0].seconds, 2);
  EXPECT_EQ(daemon_.delivered[0].gpu_seconds, 4);
  EXPECT_THAT(engine_.folders, ElementsAre("cells/1"));
}

TEST_F(ModelCells, TellHowFarTheyAre) {
  add(1, 1);
  const auto tells = [](const wire::Heartbeat& beat) { return !beat.held.empty() && beat.held[0].running; };
  daemon_.on_call = [&] {
    if (std::ranges::any_of(daemon_.beats, tells)) daemon_.drop = {{1, 0}};
  };
  run(with({"0"}));
  const auto beat = std::ranges::find_if(daemon_.beats, tells);
  ASSERT_NE(beat, daemon_.beats.end());
  EXPECT_EQ(beat->held[0].done, 3);
  EXPECT_EQ(beat->held[0].all, 7);
  EXPECT_EQ(beat->held[0].live, R"({"step": 3})");
}

TEST_F(ModelCells, HaveTheRanksOfTheirGpusOnEveryNode) {
  add(1, 4);
  add(2, 2);
  engine_.outcomes[1] = engine_.outcomes[2] = done();
  // Two nodes with two GPUs each, whose names are not their places: ranks 0 and 1, then 2 and 3.
  EXPECT_EQ(run(with({"5", "7"}, 2)).end, "done");
  EXPECT_THAT(engine_.began[1], ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(engine_.began[2], ElementsAre(0, 2)) << "one GPU on each node";
}

TEST_F(ModelCells, GoWhereTheirModelIsInMemory) {
  add(1, 1, "b");
  engine_.have["b"] = {2};
  engine_.outcomes[1] = done();
  run(with({"0", "1", "2", "3"}));
  EXPECT_THAT(engine_.began[1], ElementsAre(2));
}

TEST_F(ModelCells, ThatAreStoppedAreGivenBackAndNotBlamed) {
  add(1, 1);
  engine_.on_endless = [&] { daemon_.drain = true; };
  LoopOptions options = with({"0"});
  options.time = 2s;
  options.drain = 1s;
  EXPECT_EQ(run(options).end, "drained");
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned"));
}

TEST_F(ModelCells, EndWithTheRankThatIsGone) {
  add(1, 1);
  engine_.on_endless = [&] { engine_.gone = "rank 3 (process 9 on n2)"; };
  const wire::Exit exit = run(with({"0"}));
  EXPECT_EQ(exit.end, "lost_peer");
  EXPECT_EQ(exit.reason, "rank 3 (process 9 on n2) is gone");
  EXPECT_EQ((*directory_.read_exit())->end, "lost_peer") << "on disk, for whoever started it ends us all";
  EXPECT_THAT(daemon_.exits, ElementsAre("lost_peer"));
  EXPECT_THAT(daemon_.delivered, IsEmpty()) << "the daemon takes the lease back with the job";
}

// It is cancelled and tried again between two heartbeats, of which none says that the first lease is over: left alone
// the first attempt would keep the GPU to its end, and the second would wait for it.
TEST_F(ModelCells, ThatAreTrainedGoOnInTheNextAttemptWhenTheyAreGivenAnew) {
  engine_.trains = true;
  add(1, 1);
  std::atomic<bool> runs = false;
  engine_.on_endless = [&] {
    engine_.outcomes[1] = done();
    runs = true;
  };
  daemon_.on_lease = [&] {
    if (!runs.exchange(false)) return;
    add(1, 1);
    daemon_.cells.back().ticket = 201;
    daemon_.cells.back().folder = "cells/1-again";
  };
  EXPECT_EQ(run(with({"0"})).end, "done");
  EXPECT_THAT(engine_.folders, ElementsAre("cells/1", "cells/1-again"));
  ASSERT_THAT(daemon_.delivered, SizeIs(1)) << "nothing is said of the lease that is over";
  EXPECT_EQ(daemon_.delivered[0].ticket, 201);
  EXPECT_EQ(daemon_.delivered[0].what, "done");
}

TEST_F(ModelCells, FailWhereNothingRunsThem) {
  add(1, 1);
  run(with({"0"}), false);
  ASSERT_THAT(daemon_.delivered, SizeIs(1));
  EXPECT_EQ(daemon_.delivered[0].cause, "load_failed");
}

}  // namespace
}  // namespace orch::worker
