// Trainings of the native engine: one chunk each, however long, that one worker goes on with from where another left
// it.
#include <gmock/gmock.h>

#include "control/estimate.h"
#include "desk.h"

namespace orch::control {
namespace {

using action::Answer;
using test::Desk;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using What = event::Delivered::What;

constexpr double kDay = 86400;

SweepId submit(Desk& desk, double seconds) {
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.needs = {Desk::need()};
  sweep.needs[0].loads = "train a model";
  sweep.needs[0].trains = true;
  event::AskedCell cell;
  cell.key.bytes[0] = 1;
  cell.model = "m";
  cell.task = "t";
  cell.expected = cell.bound = static_cast<float>(seconds);
  sweep.cells.push_back(std::move(cell));
  return desk.ask(std::move(sweep)).sweep;
}

void beat(Desk& desk, const std::string& job, const Chunk& chunk, std::int64_t done, std::int64_t all) {
  desk.ask(event::Heartbeat{{}, job, desk.state.job_named(job)->epoch, {{chunk, true, done, all}}});
}

TEST(Trainings, LongerThanAnyJobHaveAJobAllTheSame) {
  Desk desk;
  submit(desk, 10 * kDay);
  ASSERT_FALSE(desk.state.jobs.empty());
  const Job& job = desk.state.jobs.rbegin()->second;
  EXPECT_LE(job.time_limit, kDay) << "the longest that its need allows";
  EXPECT_GT(job.time_limit, kDay / 2);
}

TEST(Trainings, AreBegunWhereThereIsTimeToGetSomewhere) {
  Desk desk;
  submit(desk, 10 * kDay);
  const std::string job = desk.run_job();
  EXPECT_THAT(desk.lease(job, {}, 299).given, IsEmpty());
  const Answer answer = desk.lease(job, {}, 301);
  ASSERT_THAT(answer.given, SizeIs(1));
  EXPECT_EQ(answer.given[0].seconds, 10 * kDay / 4) << "without a step, not for all of it";
}

TEST(Trainings, ThatAreShortNeedNoMoreThanTheyTake) {
  Desk desk;
  submit(desk, 100);
  const std::string job = desk.run_job();
  EXPECT_THAT(desk.lease(job, {}, 99).given, IsEmpty());
  const Answer answer = desk.lease(job, {}, 101);
  ASSERT_THAT(answer.given, SizeIs(1));
  EXPECT_EQ(answer.given[0].seconds, 300) << "how fast it is was only supposed";
}

TEST(Trainings, GoOnFromAllEarlierAttemptsTheOldestFirstAlsoAfterRestarts) {
  Desk desk;
  submit(desk, 1000);
  const std::string job = desk.run_job();
  const JobId id = desk.state.job_named(job)->id;
  std::vector<std::pair<JobId, Ticket>> attempts;
  for (int i = 0; i < 12; ++i) {
    const Answer::Given given = desk.lease(job).given.at(0);
    EXPECT_EQ(given.before, attempts);
    EXPECT_EQ(given.attempt, 1) << "what a job that ends gives back is no failure";
    attempts.emplace_back(id, given.ticket);
    desk.deliver(job, given, What::kReturned);
    if (i % 3 == 0) desk.state = desk.tables.restore(desk.state.policy, "desk", {});
  }
  EXPECT_THAT(desk.state.troubles, IsEmpty());
  const Answer::Given last = desk.lease(job).given.at(0);
  EXPECT_EQ(last.before, attempts);
  desk.deliver(job, last, What::kDone);
  EXPECT_EQ(desk.cell(0), CellState::kDone);
  EXPECT_EQ(desk.tables.results.begin()->second.ticket, last.ticket) << "the attempt whose folder has the adapter";
}

TEST(Trainings, TakeWhatIsLeftOfThem) {
  Desk desk;
  submit(desk, 4000);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job).given.at(0);
  beat(desk, job, first.chunk, 75, 100);
  desk.deliver(job, first, What::kReturned);
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).expected, 1000);
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).bound, 1000);
  const Answer::Given again = desk.lease(job).given.at(0);
  beat(desk, job, again.chunk, 99, 100);
  desk.deliver(job, again, What::kReturned);
  EXPECT_NEAR(estimate(desk.state, CellId{0}).expected, 40, 1e-9);
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).bound, 300) << "it has to load and to write what it made";
}

TEST(Trainings, ThatGetOnAreForgivenWhatWentWrongBefore) {
  Desk desk;
  submit(desk, 4000);
  const std::string job = desk.run_job();
  Answer::Given given = desk.lease(job).given.at(0);
  beat(desk, job, given.chunk, 50, 100);
  desk.deliver(job, given, What::kFailed);
  EXPECT_THAT(desk.state.troubles, SizeIs(1));
  given = desk.lease(job).given.at(0);
  beat(desk, job, given.chunk, 50, 100);
  desk.deliver(job, given, What::kReturned);
  EXPECT_THAT(desk.state.troubles, SizeIs(1)) << "no further than the attempt that failed";
  given = desk.lease(job).given.at(0);
  beat(desk, job, given.chunk, 51, 100);
  desk.deliver(job, given, What::kReturned);
  EXPECT_THAT(desk.state.troubles, IsEmpty());
}

TEST(Trainings, ThatWereGivenUpGoOnWhenTheyAreTriedAgain) {
  Desk desk;
  const SweepId sweep = submit(desk, 4000);
  std::vector<std::pair<JobId, Ticket>> attempts;
  for (int i = 0; i < 10 && desk.cell(0) != CellState::kFailed; ++i) {
    const std::string job = desk.run_job(std::to_string(i), {"n" + std::to_string(i)});
    const Answer::Given given = desk.lease(job).given.at(0);
    attempts.emplace_back(desk.state.job_named(job)->id, given.ticket);
    beat(desk, job, given.chunk, 75, 100);
    desk.deliver(job, given, What::kFailed, policy::Cause::kNan);
    desk.end_job(job, End::kDone);
  }
  ASSERT_EQ(desk.cell(0), CellState::kFailed);
  desk.ask(event::RetrySweep{{}, sweep, "mara"});
  EXPECT_DOUBLE_EQ(estimate(desk.state, CellId{0}).expected, 1000);
  const Answer::Given again = desk.lease(desk.run_job("again", {"n99"})).given.at(0);
  EXPECT_EQ(again.before, attempts);
  EXPECT_EQ(again.attempt, 1) << "its failures are forgotten";
}

/// A training, and what evaluates its adapter; the training alone where it is to be made afresh.
SweepId submit_pair(Desk& desk, bool fresh) {
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.fresh = fresh;
  sweep.needs = {Desk::need(), Desk::need()};
  sweep.needs[0].loads = "train a model";
  sweep.needs[0].trains = true;
  sweep.needs[1].loads = "a model";
  for (std::uint32_t i = 0; i < 2; ++i) {
    event::AskedCell cell;
    cell.key.bytes[0] = static_cast<std::uint8_t>(i + 1);
    cell.need = i;
    cell.expected = cell.bound = 100;
    if (i == 1) cell.depends = 0;
    sweep.cells.push_back(std::move(cell));
    if (fresh) break;
  }
  return desk.ask(std::move(sweep)).sweep;
}

TEST(Trainings, ThatMakeAnAdapterAfreshLeaveNothingOfTheOldOneToGoOnWith) {
  Desk desk;
  submit_pair(desk, false);
  std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  desk.end_job(job, End::kDone);
  job = desk.run_job("101");
  const Answer::Given given = desk.lease(job).given.at(0);
  ASSERT_EQ(given.chunk.cell, CellId{1});
  desk.deliver(job, given, What::kReturned);
  ASSERT_THAT(desk.state.begun, SizeIs(1));
  submit_pair(desk, true);
  EXPECT_THAT(desk.state.begun, IsEmpty());
}

TEST(Trainings, WithoutNumbersAreTriedElsewhereOnceAndGivenUp) {
  Desk desk;
  submit(desk, 1000);
  int attempts = 0;
  for (; attempts < 10 && desk.cell(0) != CellState::kFailed; ++attempts) {
    const std::string job = desk.run_job(std::to_string(attempts), {"n" + std::to_string(attempts)});
    desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kNan);
    desk.end_job(job, End::kDone);
  }
  EXPECT_EQ(desk.cell(0), CellState::kFailed);
  EXPECT_EQ(attempts, 2);
}

}  // namespace
}  // namespace orch::control
