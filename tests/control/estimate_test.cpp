// How long cells are expected to take once some of them are done, and what follows from it.
#include "control/estimate.h"

#include <gmock/gmock.h>

#include "control/step.h"
#include "desk.h"
#include "policy/remedy.h"

namespace orch::control {
namespace {

using test::Desk;
using testing::DoubleNear;
using testing::Each;
using testing::SizeIs;
using What = event::Delivered::What;
using planner::Basis;

struct Sort {
  Basis basis = Basis::kDeclared;
  double expected = 300, bound = 600;
  std::uint64_t work = 1;
  std::uint16_t chunks = 1;
};

/// Cells with keys of their own from `first` on.
std::vector<event::AskedCell> cells(std::size_t count, const Sort& sort, std::size_t first = 0) {
  std::vector<event::AskedCell> all(count);
  for (std::size_t i = 0; i < count; ++i) {
    event::AskedCell& cell = all[i];
    cell.key = sha256(std::to_string(first + i));
    cell.model = "m";
    cell.task = "t";
    cell.expected = static_cast<float>(sort.expected);
    cell.bound = static_cast<float>(sort.bound);
    cell.basis = sort.basis;
    cell.work = Work{sort.work};
    cell.chunks = sort.chunks;
  }
  return all;
}

SweepId submit(Desk& desk, std::vector<event::AskedCell> cells, bool fresh = false) {
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.fresh = fresh;
  sweep.needs = {Desk::need()};
  sweep.cells = std::move(cells);
  return desk.ask(std::move(sweep)).sweep;
}

/// A worker that takes one chunk after another, and says how long it was at each.
class Runner {
 public:
  explicit Runner(Desk& desk) : desk_(desk), job_(desk.run_job()) {}

  void run(const std::vector<double>& seconds) {
    for (const double each : seconds) deliver(take(), each, What::kDone);
  }
  action::Answer::Given take() {
    if (held_.empty()) held_ = desk_.lease(job_, {}, 86'000, 1).given;
    EXPECT_THAT(held_, SizeIs(testing::Ge(1u)));
    const auto first = held_.at(0);
    held_.erase(held_.begin());
    return first;
  }
  void deliver(const action::Answer::Given& given, double seconds, What what) {
    event::Delivered item;
    item.chunk = given.chunk;
    item.ticket = given.ticket;
    item.generation = given.generation;
    item.what = what;
    item.cause = policy::Cause::kTimeout;
    item.metrics = "{}";
    item.seconds = seconds;
    EXPECT_EQ(desk_.ask(event::Deliver{{}, job_, desk_.state.job_named(job_)->epoch, {item}}).accepted, 1u);
  }
  const std::string& job() const { return job_; }

 private:
  Desk& desk_;
  std::string job_;
  std::vector<action::Answer::Given> held_;
};

TEST(Estimate, OfADeclaredTimeIsWhatWasMeasuredAndItsBoundIsNot) {
  Desk desk;
  submit(desk, cells(8, {}));
  EXPECT_EQ(basis_of(desk.state, CellId{7}, estimate(desk.state, CellId{7})), "half of the time declared");
  Runner(desk).run({1, 3, 2, 2, 2, 9});
  const Estimate it = estimate(desk.state, CellId{7});
  EXPECT_DOUBLE_EQ(it.expected, 2);
  EXPECT_DOUBLE_EQ(it.bound, 600) << "it is stopped where its matrix says";
  EXPECT_EQ(basis_of(desk.state, CellId{7}, it), "the median of 6 runs of the same work");
}

TEST(Estimate, OfARooflineIsBoundByWhatIsHardlyExceeded) {
  Desk desk;
  submit(desk, cells(8, {Basis::kRoofline, 3000, 3900}));
  Runner runner(desk);
  runner.run({1000, 1100, 900, 1000});
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{7}).bound, 3900) << "four runs are too few";
  runner.run({1000});
  const Estimate it = estimate(desk.state, CellId{7});
  EXPECT_DOUBLE_EQ(it.expected, 1000);
  EXPECT_DOUBLE_EQ(it.bound, 1430) << "the longest of five, times 1.3";
  EXPECT_DOUBLE_EQ(runner.take().seconds, 1430) << "and the worker is told so";
}

TEST(Estimate, OfShortWorkLeavesAMinuteToABusyMachine) {
  Desk desk;
  submit(desk, cells(8, {Basis::kAssumed, 1800, 3600}));
  Runner(desk).run({2, 2, 2, 2, 2});
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{7}).bound, 62);
}

TEST(Estimate, OfWhatWasNeverRunFollowsTheOthersOfItsNeed) {
  Desk desk;
  auto all = cells(9, {});
  for (std::size_t i = 0; i < all.size(); ++i) all[i].work = Work{i + 1};
  all[8].expected = 100;
  submit(desk, std::move(all));
  Runner runner(desk);
  runner.run({30, 30, 30, 30, 30, 30, 30});
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{8}).expected, 100);
  runner.run({30});
  const Estimate it = estimate(desk.state, CellId{8});
  EXPECT_NEAR(it.expected, 10, 1e-5) << "the others took a tenth";
  EXPECT_DOUBLE_EQ(it.bound, 600);
  EXPECT_EQ(basis_of(desk.state, CellId{8}, it),
            "half of the time declared, times 0.10 as for the last 8 cells of such a kind");
}

TEST(Estimate, ThatRanOutOfItsTimeIsAsLongAsWasAskedForAndThenLonger) {
  Desk desk;
  submit(desk, cells(7, {Basis::kRoofline, 3000, 3900}));
  Runner runner(desk);
  runner.run({100, 100, 100, 100, 100});
  const CellId slow{5};
  std::vector<double> given;
  for (int attempt = 0; attempt < 4; ++attempt) {
    auto next = runner.take();
    while (next.chunk.cell != slow) {
      runner.deliver(next, 100, What::kReturned);
      next = runner.take();
    }
    given.push_back(next.seconds);
    runner.deliver(next, next.seconds, What::kFailed);
  }
  // The policy: one retry, then twice half as much again.
  EXPECT_THAT(given, testing::ElementsAre(160, 3900, 3900 * 1.5, 3900 * 1.5 * 1.5));
  EXPECT_EQ(desk.cell(5), CellState::kFailed);
}

TEST(Estimate, IsNotShortenedWhereThePolicyForgivesNoTimeOut) {
  Desk desk;
  desk.state.policy.remedies[policy::Cause::kTimeout] = {{policy::Remedy::kGiveUp, 1, 1}};
  submit(desk, cells(7, {Basis::kRoofline, 3000, 3900}));
  Runner(desk).run({100, 100, 100, 100, 100});
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{6}).bound, 3900);
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{6}).expected, 100);
}

TEST(Estimate, IsNeverLongerThanAJobCanBe) {
  Desk desk;
  submit(desk, cells(7, {Basis::kRoofline, 60'000, 78'000}));
  Runner(desk).run({80'000, 80'000, 80'000, 80'000, 80'000});
  const Estimate it = estimate(desk.state, CellId{6});
  // A day, less what a job needs to start (60) and to stop (the policy's drain_signal).
  EXPECT_DOUBLE_EQ(it.bound, 86'400 - 60 - desk.state.policy.drain_signal);
  EXPECT_LE(it.expected, it.bound);
}

TEST(Estimate, OfACellOfSeveralChunksIsThatOfAllOfThem) {
  Desk desk;
  submit(desk, cells(3, {Basis::kRoofline, 4000, 8000, 1, 4}));
  Runner runner(desk);
  EXPECT_DOUBLE_EQ(runner.take().seconds, 2000);
  Desk other;
  submit(other, cells(3, {Basis::kRoofline, 4000, 8000, 1, 4}));
  Runner second(other);
  second.run({100, 100, 100, 100, 100});
  const Estimate it = estimate(other.state, CellId{2});
  EXPECT_DOUBLE_EQ(it.expected, 400) << "four chunks of 100";
  EXPECT_DOUBLE_EQ(it.bound, 640) << "a minute more for each chunk";
  EXPECT_DOUBLE_EQ(second.take().seconds, 160);
}

TEST(Estimate, OfAFreshRunAndOfOtherSeedsIsWhatWasLearned) {
  Desk desk;
  submit(desk, cells(4, {}));
  Runner(desk).run({5, 5, 5, 5});
  submit(desk, cells(4, {}), true);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).expected, 5);
  submit(desk, cells(2, {}, 100));
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{4}).expected, 5);
  submit(desk, cells(1, {Basis::kDeclared, 300, 600, 2}, 200));
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{6}).expected, 300) << "another work";
}

TEST(Estimate, OfWhatHasNoWorkOfItsOwnIsThatOfItsOwnRuns) {
  Desk desk;
  Runner* runner = nullptr;
  std::optional<Runner> held;
  for (int again = 0; again < 3; ++again) {
    submit(desk, cells(1, {Basis::kDeclared, 300, 600, 0}), true);
    if (!runner) runner = &held.emplace(desk);
    runner->run({7});
  }
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).expected, 7);
  submit(desk, cells(1, {Basis::kDeclared, 300, 600, 0}, 50));
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{1}).expected, 300);
}

TEST(Estimate, IsTheSameAfterARestart) {
  Desk desk;
  submit(desk, cells(12, {Basis::kRoofline, 3000, 3900}));
  Runner(desk).run({10, 20, 30, 40, 50, 60, 70, 80, 90});
  const State restored = desk.tables.restore(desk.state.policy, "desk", desk.state.rules);
  EXPECT_EQ(restored.durations, desk.state.durations);
  EXPECT_DOUBLE_EQ(estimate(restored, CellId{11}).expected, 50);
  EXPECT_DOUBLE_EQ(estimate(restored, CellId{11}).bound, 150);
  EXPECT_EQ(basis_of(restored, CellId{11}, estimate(restored, CellId{11})), "the median of 9 runs of the same work");
}

TEST(Estimate, OfCellsWithMoreMemoryGoesOnWithThatOfTheirFirstNeed) {
  Desk desk;
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.needs = {Desk::need()};
  sweep.needs[0].resources.memory = std::int64_t{1} << 30;
  for (Resources& room : sweep.needs[0].rooms) room.memory = std::int64_t{8} << 30;
  sweep.cells = cells(2, {});
  desk.ask(std::move(sweep));
  const std::string job = desk.run_job();
  const auto given = desk.lease(job, {}, 3600, 1).given.at(0);
  desk.deliver(job, given, What::kFailed, policy::Cause::kHostMemory);
  ASSERT_THAT(desk.state.needs, SizeIs(2));
  EXPECT_EQ(desk.state.needs[1].like, NeedId{0});
  const State restored = desk.tables.restore(desk.state.policy, "desk", desk.state.rules);
  EXPECT_EQ(restored.needs[1].like, NeedId{0});
}

TEST(Leasing, ACellThatNeedsMoreMemoryIsNotLeasedToAJobThatHasLess) {
  Desk desk;
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.needs = {Desk::need()};
  sweep.needs[0].resources.memory = std::int64_t{1} << 30;
  sweep.needs[0].rooms.clear();
  sweep.cells = cells(2, {});
  desk.ask(std::move(sweep));
  const std::string job = desk.run_job();
  const auto given = desk.lease(job, {}, 3600, 1).given.at(0);
  desk.deliver(job, given, What::kFailed, policy::Cause::kHostMemory);
  const NeedId more = desk.state.cells[index(given.chunk.cell)].need;
  ASSERT_GT(desk.state.needs[index(more)].resources.memory, desk.state.job_named(job)->resources.memory);
  for (const auto& again : desk.lease(job, {}, 3600, 8).given) EXPECT_NE(again.chunk.cell, given.chunk.cell);
}

// What follows from it.

TEST(Leasing, ShortCellsAreLeasedAheadOnceTheyAreKnownToBeShort) {
  Desk desk;
  submit(desk, cells(40, {}));
  Runner runner(desk);
  EXPECT_THAT(desk.lease(runner.job()).given, SizeIs(1)) << "of what may take five minutes none stands behind another";
  Desk other;
  submit(other, cells(40, {}));
  Runner second(other);
  second.run({1, 1, 1});
  const std::size_t lanes = static_cast<std::size_t>(other.state.job_named(second.job())->resources.gpus);
  EXPECT_THAT(other.lease(second.job(), {}, 86'000).given, SizeIs(20 * lanes)) << "20 seconds of work for each GPU";
}

TEST(Planning, AsksForAsMuchTimeAsTheWorkTakes) {
  Desk desk;
  desk.state.policy.per_user.max_jobs = 1;
  submit(desk, cells(8, {Basis::kRoofline, 20'000, 26'000}));
  Runner runner(desk);
  const std::int64_t first = desk.state.job_named(runner.job())->time_limit;
  runner.run({1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000});
  desk.end_job(runner.job(), End::kDone);
  submit(desk, cells(1, {Basis::kRoofline, 20'000, 26'000}, 100));
  const Job& job = desk.state.jobs.rbegin()->second;
  EXPECT_GE(first, 26'000);
  EXPECT_GE(job.time_limit, 1300);
  EXPECT_LT(job.time_limit, 3000);
}

TEST(Strikes, AreNotCountedAgainstCellsThatGrewWhileTheirJobStoodInTheQueue) {
  Desk desk;
  desk.state.policy.per_user.max_jobs = 1;
  submit(desk, cells(1, {Basis::kRoofline, 1000, 1300}));
  const std::string job = desk.run_job();
  ASSERT_LT(desk.state.job_named(job)->time_limit, 8000);
  // Elsewhere the same work was found to take longer.
  for (int i = 0; i < 5; ++i) desk.state.durations.add(Work{1}, NeedId{0}, 8000, 1000);
  for (int i = 0; i < 4; ++i) {
    const std::string next = i == 0 ? job : desk.run_job();
    EXPECT_THAT(desk.lease(next, {}, 1500).given, SizeIs(0));
    desk.state.jobs.rbegin()->second.time_limit = 1600;  // as it was planned before
    desk.end_job(next, End::kDone);
  }
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.state.needs[0].strikes, 0);
  const std::string last = desk.run_job();
  EXPECT_GE(desk.state.job_named(last)->time_limit, 10'400);
  EXPECT_THAT(desk.lease(last, {}, 12'000).given, SizeIs(1));
}

TEST(WorkLeft, OfASweepIsItsOpenCellsByWhatWasMeasured) {
  Desk desk;
  auto all = cells(6, {});
  for (auto& cell : cells(4, {Basis::kDeclared, 300, 600, 2}, 6)) all.push_back(cell);
  const SweepId sweep = submit(desk, std::move(all));
  EXPECT_DOUBLE_EQ(work_left(desk.state, desk.state.sweeps[index(sweep)]), 3000);
  for (int i = 0; i < 3; ++i) desk.state.durations.add(Work{1}, NeedId{0}, 2, 300);
  EXPECT_NEAR(work_left(desk.state, desk.state.sweeps[index(sweep)]), 6 * 2 + 4 * 300, 1e-6);
}

TEST(WorkLeft, OfManyCellsIsThatOfASampleOfThem) {
  Desk desk;
  // Tasks in turn, as a matrix lists them: every fourth cell takes 100 s, the others 1 s, and nine tenths are done.
  State& state = desk.state;
  Sweep sweep;
  state.needs.push_back(Desk::need());
  state.backlog.emplace_back();
  constexpr std::size_t kCells = 200'000;
  double exact = 0;
  for (std::size_t i = 0; i < kCells; ++i) {
    Cell cell;
    cell.expected = 300;
    cell.bound = 600;
    cell.work = Work{i % 4 == 0 ? 1u : 2u};
    cell.state = i % 40 < 36 ? CellState::kDone : CellState::kWaiting;
    if (cell.state == CellState::kWaiting) {
      sweep.work_left += 300;
      exact += i % 4 == 0 ? 100 : 1;
    }
    state.cells.push_back(cell);
    sweep.cells.push_back({CellId{static_cast<std::uint32_t>(i)}, 0, 1});
  }
  for (int i = 0; i < 3; ++i) {
    state.durations.add(Work{1}, NeedId{0}, 100, 300);
    state.durations.add(Work{2}, NeedId{0}, 1, 300);
  }
  EXPECT_THAT(work_left(state, sweep), DoubleNear(exact, exact * 0.1));
  // Of the last few all cells speak.
  sweep.work_left = 600;
  for (std::size_t i = 0; i + 2 < kCells; ++i) state.cells[i].state = CellState::kDone;
  EXPECT_LT(work_left(state, sweep), 100) << "and not 600";
}

}  // namespace
}  // namespace orch::control
