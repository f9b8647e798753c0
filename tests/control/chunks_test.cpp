// Cells that are cut into chunks: what several workers do of one cell, what is gone on with, and what counts against
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

/// A cell of so many chunks, each 100 s long, of the native engine if something is loaded for it.
SweepId submit(Desk& desk, std::uint16_t chunks, const std::string& loads = "a model") {
  event::SubmitSweep sweep;
  sweep.name = "s";
  sweep.user = "mara";
  sweep.needs = {Desk::need()};
  sweep.needs[0].loads = loads;
  event::AskedCell cell;
  cell.key.bytes[0] = 1;
  cell.model = "m";
  cell.task = "t";
  cell.expected = cell.bound = 100.0F * static_cast<float>(chunks);
  cell.chunks = chunks;
  sweep.cells.push_back(std::move(cell));
  return desk.ask(std::move(sweep)).sweep;
}

void beat(Desk& desk, const std::string& job, const Chunk& chunk, std::int64_t done, std::int64_t all) {
  desk.ask(event::Heartbeat{{}, job, desk.state.job_named(job)->epoch, {{chunk, true, done, all}}});
}

TEST(Chunks, AreGoneOnWithWhereAnEarlierAttemptStopped) {
  Desk desk;
  submit(desk, 2);
  const std::string job = desk.run_job();
  const JobId id = desk.state.job_named(job)->id;
  const Answer::Given first = desk.lease(job).given.at(0);
  EXPECT_TRUE(first.native);
  EXPECT_THAT(first.before, IsEmpty());
  desk.deliver(job, first, What::kReturned);
  const Answer::Given again = desk.lease(job).given.at(0);
  EXPECT_EQ(again.chunk, first.chunk);
  EXPECT_THAT(again.before, ElementsAre(std::pair(id, first.ticket)));
  desk.deliver(job, again, What::kDone);
  EXPECT_THAT(desk.state.begun, IsEmpty()) << "nobody goes on with what is done";
}

TEST(Chunks, AreGoneOnWithAfterARestartOfTheDaemonToo) {
  Desk desk;
  submit(desk, 2);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job).given.at(0);
  desk.deliver(job, first, What::kReturned);
  desk.state = desk.tables.restore(desk.state.policy, "desk", {});
  EXPECT_THAT(desk.lease(job).given.at(0).before, ElementsAre(std::pair(desk.state.job_named(job)->id, first.ticket)));
}

TEST(Chunks, OfProgramsLeaveNothingToGoOnWith) {
  Desk desk;
  submit(desk, 2, "");
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job).given.at(0);
  EXPECT_FALSE(first.native);
  desk.deliver(job, first, What::kReturned);
  EXPECT_THAT(desk.lease(job).given.at(0).before, IsEmpty());
}

TEST(Chunks, OfACellThatIsCancelledAreGoneOnWithWhenItIsTriedAgain) {
  Desk desk;
  const SweepId sweep = submit(desk, 3);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job, {}, 3600, 1).given.at(0);
  desk.deliver(job, first, What::kReturned);
  const Answer::Given second = desk.lease(job, {}, 3600, 1).given.at(0);  // runs when it is cancelled
  ASSERT_EQ(second.chunk, first.chunk);
  desk.ask(event::CancelSweep{{}, sweep, "mara"});
  EXPECT_EQ(desk.cell(0), CellState::kCancelled);
  EXPECT_THAT(desk.state.leases.of(desk.state.job_named(job)->id), IsEmpty());
  desk.state = desk.tables.restore(desk.state.policy, "desk", {});
  desk.ask(event::RetrySweep{{}, sweep, "mara"});
  const JobId id = desk.state.job_named(job)->id;
  EXPECT_THAT(desk.lease(job, {}, 3600, 1).given.at(0).before,
              ElementsAre(std::pair(id, first.ticket), std::pair(id, second.ticket)));
}

TEST(Chunks, OfACellThatIsToBeMeasuredAfreshAreForgotten) {
  Desk desk;
  submit(desk, 3);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job, {}, 3600, 1).given.at(0);
  desk.deliver(job, first, What::kReturned);
  desk.ask(event::CancelSweep{{}, SweepId{0}, "mara"});
  ASSERT_THAT(desk.state.begun, SizeIs(1));
  event::SubmitSweep sweep;
  sweep.name = "afresh";
  sweep.user = "mara";
  sweep.fresh = true;
  sweep.needs = {Desk::need()};
  sweep.needs[0].loads = "a model";
  event::AskedCell cell;
  cell.key.bytes[0] = 1;
  cell.expected = cell.bound = 300;
  cell.chunks = 3;
  sweep.cells.push_back(std::move(cell));
  desk.ask(std::move(sweep));
  EXPECT_THAT(desk.state.begun, IsEmpty());
  desk.state = desk.tables.restore(desk.state.policy, "desk", {});
  const Answer::Given again = desk.lease(job, {}, 3600, 1).given.at(0);
  EXPECT_EQ(again.chunk, first.chunk);
  EXPECT_THAT(again.before, IsEmpty());
}

TEST(Chunks, OfOneCellThatAJobHeldBlameItOnce) {
  // default.yaml: lost_peer: [{retry: 1}, …]: blamed for each chunk, the cell would have failed.
  Desk desk;
  submit(desk, 8);
  desk.state.jobs.rbegin()->second.resources = {1, 4, 16, 0};
  const std::string job = desk.run_job();
  ASSERT_THAT(desk.lease(job).given, SizeIs(4));
  desk.end_job(job, End::kLostPeer);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).attempts(), 1);
}

TEST(Chunks, ThatAreDoneForgiveWhatWentWrongBefore) {
  Desk desk;
  submit(desk, 3);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kLoadFailed);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).attempts(), 1);
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  EXPECT_THAT(desk.state.troubles, IsEmpty());
  EXPECT_THAT(desk.tables.restore(desk.state.policy, "desk", {}).troubles, IsEmpty()) << "nor after a restart";
}

TEST(Chunks, KeepWhatWasDoneAboutTheirCellsTroubles) {
  Desk desk;
  submit(desk, 3);
  const std::string job = desk.run_job();
  // default.yaml: timeout: more_time first of all that helps.
  while (!desk.state.troubles.contains(CellId{0}) || desk.state.troubles.at(CellId{0}).more_time == 1)
    desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kTimeout);
  const double more = desk.state.troubles.at(CellId{0}).more_time;
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).more_time, more);
}

TEST(Chunks, AndTheirSamplesCountInWhatIsLeft) {
  Desk desk;
  const SweepId sweep = submit(desk, 4);
  const auto left = [&] { return work_left(desk.state, desk.state.sweeps[index(sweep)]); };
  EXPECT_DOUBLE_EQ(left(), 400);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job).given.at(0);
  beat(desk, job, first.chunk, 30, 120);
  EXPECT_DOUBLE_EQ(left(), 375) << "a quarter of one";
  desk.deliver(job, first, What::kReturned);
  EXPECT_DOUBLE_EQ(left(), 400) << "nobody works on it";
}

}  // namespace
}  // namespace orch::control
