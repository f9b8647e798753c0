// What each event does to the state. That it does so in every order is the simulator's affair (tests/sim).
#include <gmock/gmock.h>

#include "desk.h"

namespace orch::control {
namespace {

using action::Answer;
using test::Desk;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using What = event::Delivered::What;

TEST(Submit, WritesTheJobBeforeTheClusterHearsOfIt) {
  Desk desk;
  desk.submit(1);
  const auto submissions = desk.all<action::Submit>();
  ASSERT_THAT(submissions, SizeIs(1));
  ASSERT_TRUE(desk.tables.jobs.contains(submissions[0].job));
  EXPECT_EQ(desk.tables.jobs.at(submissions[0].job).job.state, JobState::kSubmitting);
  EXPECT_EQ(desk.tables.jobs.at(submissions[0].job).job.name, "orch-desk-1");
}

TEST(Submit, OfTheSameContentTwiceRunsItOnce) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  ASSERT_EQ(desk.deliver(job, desk.lease(job).given.at(0), What::kDone), 1u);
  event::SubmitSweep again;
  again.needs = {Desk::need()};
  again.cells.resize(1);
  again.cells[0].key = desk.state.cells[0].key;
  const Answer answer = desk.ask(again);
  EXPECT_EQ(answer.reused, 1u);
  EXPECT_EQ(desk.state.sweeps[index(answer.sweep)].state, SweepState::kDone);
  EXPECT_THAT(desk.state.cells, SizeIs(1));
}

TEST(Submit, OfTheSameRequestTwiceIsOneSweep) {
  Desk desk;
  event::SubmitSweep sweep;
  sweep.request_key = "r1";
  sweep.needs = {Desk::need()};
  sweep.cells.resize(1);
  const SweepId first = desk.ask(sweep).sweep;
  EXPECT_EQ(desk.ask(sweep).sweep, first);
  EXPECT_THAT(desk.state.sweeps, SizeIs(1));
}

TEST(Submit, AfreshMakesAGenerationAndKeepsTheOldResult) {
  Desk desk;
  const SweepId old = desk.submit(1);
  std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  const SweepId fresh = desk.submit(1, 100, 0, true);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.state.sweeps[index(old)].count(CellState::kDone), 1u) << "its result is there";
  EXPECT_EQ(desk.state.sweeps[index(fresh)].count(CellState::kWaiting), 1u);
  const Answer given = desk.lease(job);
  ASSERT_THAT(given.given, SizeIs(1));
  EXPECT_EQ(given.given[0].generation, 2);
  EXPECT_EQ(desk.deliver(job, given.given[0], What::kDone), 1u);
  EXPECT_THAT(desk.tables.results, SizeIs(2));
}

TEST(Cancel, TouchesNoCellThatAnotherSweepWants) {
  Desk desk;
  const SweepId first = desk.submit(3);
  desk.submit(1);  // the first of the three
  desk.ask(event::CancelSweep{{}, first, "mara"});
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.cell(1), CellState::kCancelled);
  EXPECT_EQ(desk.cell(2), CellState::kCancelled);
}

/// Cells of which each needs the one before it.
event::SubmitSweep chain(std::size_t cells, bool fresh) {
  event::SubmitSweep sweep;
  sweep.name = "chain";
  sweep.user = "mara";
  sweep.fresh = fresh;
  sweep.needs = {Desk::need()};
  for (std::size_t i = 0; i < cells; ++i) {
    event::AskedCell cell;
    cell.key.bytes[0] = static_cast<std::uint8_t>(i);
    cell.model = "m";
    cell.task = "t";
    cell.expected = cell.bound = 100;
    if (i > 0) cell.depends = static_cast<std::uint32_t>(i - 1);
    sweep.cells.push_back(std::move(cell));
  }
  return sweep;
}

// Seed 1000903 of the soak: what a cell waited for was made afresh by another sweep, which was then cancelled.
TEST(Cancel, LeavesWhatAnotherSweepsCellsNeed) {
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    Desk desk;
    const SweepId first = desk.ask(chain(3, false)).sweep;
    const std::string job = desk.run_job();
    for (int i = 0; i < 2; ++i) desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
    ASSERT_EQ(desk.cell(2), CellState::kWaiting);
    const SweepId second = desk.ask(chain(2, true)).sweep;
    EXPECT_EQ(desk.cell(2), CellState::kBlocked) << "what it needs is made afresh";
    desk.ask(event::CancelSweep{{}, second, "mara"});
    EXPECT_EQ(desk.cell(0), CellState::kWaiting);
    if (restarted) desk.state = desk.tables.restore(desk.state.policy, "desk", {});
    for (int i = 0; i < 3; ++i) {
      const Answer given = desk.lease(job);
      ASSERT_THAT(given.given, SizeIs(1)) << i;
      EXPECT_EQ(given.given[0].chunk.cell, CellId{static_cast<std::uint32_t>(i)});
      desk.deliver(job, given.given[0], What::kDone);
    }
    EXPECT_EQ(desk.state.sweeps[index(first)].state, SweepState::kDone);
  }
}

TEST(Cancel, OfWhatWasMadeAfreshEndsItWhereNobodyNeedsIt) {
  Desk desk;
  desk.ask(chain(2, false));
  const std::string job = desk.run_job();
  for (int i = 0; i < 2; ++i) desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  const SweepId second = desk.ask(chain(1, true)).sweep;
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  desk.ask(event::CancelSweep{{}, second, "mara"});
  EXPECT_EQ(desk.cell(0), CellState::kCancelled);
}

TEST(Retry, TriesWhatItsCellsNeedToo) {
  Desk desk;
  const SweepId first = desk.ask(chain(2, false)).sweep;
  std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  desk.ask(chain(1, true));
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kBadInput);
  ASSERT_EQ(desk.cell(0), CellState::kFailed);
  ASSERT_EQ(desk.state.sweeps[index(first)].state, SweepState::kFailed);
  EXPECT_EQ(desk.ask(event::RetrySweep{{}, first, "mara"}).cells, 2u);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.cell(1), CellState::kBlocked);
}

TEST(Cancel, IsHeardByTheWorkerAtItsNextHeartbeat) {
  Desk desk;
  const SweepId sweep = desk.submit(1);
  const std::string job = desk.run_job();
  const Chunk chunk = desk.lease(job).given.at(0).chunk;
  desk.ask(event::CancelSweep{{}, sweep, "mara"});
  const Answer beat = desk.ask(event::Heartbeat{{}, job, desk.state.job_named(job)->epoch, {{chunk, true}}});
  EXPECT_THAT(beat.drop, ElementsAre(chunk));
}

TEST(Cancel, OfAJobEndsItAndItsCellsWaitForAnother) {
  Desk desk;
  desk.submit(1);
  const std::string name = desk.run_job();
  const JobId id = desk.state.job_named(name)->id;
  const auto given = desk.lease(name).given.at(0);
  EXPECT_EQ(desk.ask(event::CancelJob{{}, id, "mara"}).status, Answer::Status::kOk);
  EXPECT_THAT(desk.all<action::Cancel>(), SizeIs(1));
  EXPECT_TRUE(desk.lease(name, {given.chunk}).drain);
  // The word may get lost: it is said again as long as the cluster shows the job.
  event::Seen seen;
  seen.name = name;
  seen.cluster_id = "100";
  seen.phase = event::Seen::Phase::kRunning;
  desk.wait(100);
  desk.put(event::Looked{desk.now.serving, {seen}});
  EXPECT_THAT(desk.all<action::Cancel>(), SizeIs(2));
  EXPECT_EQ(desk.deliver(name, given, What::kReturned), 1u);
  desk.end_job(name, End::kDrained);
  EXPECT_EQ(desk.state.job_named(name)->end, End::kDrained);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_NE(desk.state.jobs.rbegin()->second.name, name) << "another job is submitted for it";
  EXPECT_EQ(desk.ask(event::CancelJob{{}, id, "mara"}).status, Answer::Status::kConflict);
  EXPECT_EQ(desk.ask(event::CancelJob{{}, JobId{77}, "mara"}).status, Answer::Status::kNotFound);
}

TEST(Retry, LetsOtherSweepsThatHadGivenTheCellUpHopeAgain) {
  Desk desk;
  const SweepId first = desk.submit(1), second = desk.submit(1);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kBadInput);
  EXPECT_EQ(desk.state.sweeps[index(first)].state, SweepState::kFailed);
  EXPECT_EQ(desk.state.sweeps[index(second)].state, SweepState::kFailed);
  desk.ask(event::RetrySweep{{}, first, "mara"});
  EXPECT_EQ(desk.state.sweeps[index(second)].state, SweepState::kRunning);
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  EXPECT_EQ(desk.state.sweeps[index(first)].state, SweepState::kDone);
  EXPECT_EQ(desk.state.sweeps[index(second)].state, SweepState::kDone);
}

TEST(Sweep, KnowsTheWorkThatIsLeft) {
  Desk desk;
  const SweepId sweep = desk.submit(3, 100);
  const auto left = [&] { return desk.state.sweeps[index(sweep)].work_left; };
  EXPECT_DOUBLE_EQ(left(), 300);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  EXPECT_DOUBLE_EQ(left(), 200);
  EXPECT_DOUBLE_EQ(desk.tables.restore(desk.state.policy, "desk", {}).sweeps[index(sweep)].work_left, 200);
  desk.ask(event::CancelSweep{{}, sweep, "mara"});
  EXPECT_DOUBLE_EQ(left(), 0);
}

TEST(Hold, LeasesNothingUntilItIsReleased) {
  Desk desk;
  const SweepId sweep = desk.submit(1);
  const std::string job = desk.run_job();
  desk.ask(event::HoldSweep{{}, sweep, true, "root"});
  EXPECT_THAT(desk.lease(job).given, IsEmpty());
  desk.ask(event::HoldSweep{{}, sweep, false, "root"});
  EXPECT_EQ(desk.ask(event::HoldModel{{}, "m", true, "root"}).cells, 1);
  EXPECT_THAT(desk.lease(job).given, IsEmpty());
  EXPECT_EQ(desk.ask(event::HoldModel{{}, "other", true, "root"}).cells, 0) << "it may be asked for later";
  desk.ask(event::HoldModel{{}, "m", false, "root"});
  EXPECT_THAT(desk.lease(job).given, SizeIs(1));
  const Answer again = desk.ask(event::HoldModel{{}, "m", false, "root"});
  EXPECT_EQ(again.status, Answer::Status::kConflict);
  EXPECT_EQ(again.text, "model m is not held; held are other");
}

TEST(Claim, GivesEachCopyANewerEpochAndTheSameCopyTheSame) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job("100");
  EXPECT_EQ(desk.claim(job, "100").epoch, Epoch{1}) << "the same claim twice";
  EXPECT_EQ(desk.claim(job, "100", {"n2"}, 1, "d").epoch, Epoch{2}) << "requeued";
  EXPECT_EQ(desk.claim(job, "100", {"n1"}, 0, "c").status, Answer::Status::kGone) << "the older copy";
}

TEST(Claim, OfASecondSubmissionUnderTheSameNameIsSuperseded) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job("100");
  EXPECT_EQ(desk.claim(job, "101").status, Answer::Status::kGone);
  EXPECT_EQ(desk.claim("orch-other-1", "101").status, Answer::Status::kNotFound);
}

TEST(Claim, AdoptsAJobWhoseSubmissionWasNeverAnswered) {
  Desk desk;
  desk.submit(1);
  EXPECT_EQ(desk.claim("orch-desk-1", "100").status, Answer::Status::kOk);
  EXPECT_EQ(desk.state.job_named("orch-desk-1")->cluster_id, "100");
}

TEST(Lease, OfAnOlderEpochIsRefusedButItMayDeliver) {
  Desk desk;
  desk.submit(2);
  const std::string job = desk.run_job("100");
  const Answer::Given old = desk.lease(job, {}, 3600, 1).given.at(0);
  desk.claim(job, "100", {"n2"}, 1, "d");
  EXPECT_EQ(desk.ask(event::AskLease{{}, job, Epoch{1}, 3600, 64, {}, {}}).status, Answer::Status::kGone);
  event::Delivered item;
  item.chunk = old.chunk;
  item.ticket = old.ticket;
  EXPECT_EQ(desk.ask(event::Deliver{{}, job, Epoch{1}, {item}}).accepted, 1u);
  EXPECT_EQ(desk.cell(0), CellState::kDone);
}

TEST(Lease, GivesTheBestFirstAndFillsTheSlots) {
  Desk desk;
  desk.submit(6, 1000);
  const std::string job = desk.run_job();
  const auto gpus = static_cast<std::size_t>(desk.state.job_named(job)->resources.gpus);
  const Answer answer = desk.lease(job);
  ASSERT_THAT(answer.given, SizeIs(gpus));
  for (std::uint32_t i = 0; i < gpus; ++i) EXPECT_EQ(answer.given[i].chunk.cell, CellId{i});
}

TEST(Lease, TellsAgainWhatAnAnswerThatWasLostSaid) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  const Answer lost = desk.lease(job);
  const Answer again = desk.lease(job);
  ASSERT_THAT(again.given, SizeIs(1));
  EXPECT_EQ(again.given[0].ticket, lost.given[0].ticket);
  EXPECT_THAT(desk.lease(job, {lost.given[0].chunk}).given, IsEmpty()) << "it knows now";
}

TEST(Lease, GivesNothingThatWouldNotEndInTime) {
  Desk desk;
  desk.submit(1, 1000);
  const std::string job = desk.run_job();
  EXPECT_THAT(desk.lease(job, {}, 999).given, IsEmpty());
  EXPECT_THAT(desk.lease(job, {}, 1000).given, SizeIs(1));
}

TEST(Lease, LetsOnlyShortCellsStandBehindOthers) {
  Desk desk;
  desk.submit(3, 1);
  const std::string job = desk.run_job();
  EXPECT_THAT(desk.lease(job).given, SizeIs(3)) << "of a second each";
  Desk other;
  other.submit(3, 600);
  const std::string longer = other.run_job();
  const auto gpus = static_cast<std::size_t>(other.state.job_named(longer)->resources.gpus);
  EXPECT_THAT(other.lease(longer).given, SizeIs(std::min<std::size_t>(gpus, 3)));
}

TEST(Lease, OutlivesTheDaemonAndGetsAFullTerm) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  desk.lease(job);
  State after = desk.tables.restore(desk.state.policy, "desk", {});
  const Now start{Serving{}, desk.now.utc + std::chrono::hours(5)};
  apply(after, event::Started{}, start);
  apply(after, event::Tick{}, {std::chrono::seconds(59), start.utc});
  EXPECT_EQ(after.leases.size(), 1u);
  EXPECT_EQ(after.cells[0].state, CellState::kRunning);
}

TEST(Lease, OfASilentWorkerGoesBackAfterTheClusterWasAsked) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  desk.lease(job);
  desk.actions.clear();
  desk.wait(61);
  desk.put(event::Tick{});
  EXPECT_THAT(desk.all<action::LookSoon>(), SizeIs(1));
  EXPECT_EQ(desk.cell(0), CellState::kRunning) << "it is asked first";
  desk.wait(61);
  desk.put(event::Tick{});
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
}

TEST(Deliver, TakesTheFirstAndIgnoresTheRest) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  const Answer::Given given = desk.lease(job).given.at(0);
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 1u);
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 0u);
  EXPECT_EQ(desk.deliver(job, given, What::kFailed), 0u);
  EXPECT_EQ(desk.cell(0), CellState::kDone);
  EXPECT_THAT(desk.tables.results, SizeIs(1));
}

TEST(Deliver, IsCountedForTheJobAcrossARestart) {
  Desk desk;
  desk.submit(2);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kDone);
  const State again = desk.tables.restore(desk.state.policy, "desk", {});
  EXPECT_EQ(again.job_named(job)->delivered, 1u);
}

TEST(Deliver, DoesNotBlameANewLeaseForAnOldFailure) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  const Answer::Given first = desk.lease(job).given.at(0);
  EXPECT_EQ(desk.deliver(job, first, What::kReturned), 1u);
  ASSERT_THAT(desk.lease(job).given, SizeIs(1));
  EXPECT_EQ(desk.deliver(job, first, What::kFailed), 0u) << "it came twice, and late";
  EXPECT_EQ(desk.cell(0), CellState::kRunning);
  EXPECT_THAT(desk.state.troubles, IsEmpty());
}

TEST(Deliver, OfWhatNobodyAskedForIsIgnored) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  Answer::Given given;
  given.chunk = {CellId{7}, 0};
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 0u);
  given.chunk = {CellId{0}, 3};
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 0u);
  given.chunk = {CellId{0}, 0};
  given.generation = 9;
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 0u);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
}

TEST(Failure, OfAUsersCommandIsGivenUpAtOnceAndRetriedOnRequest) {
  Desk desk;
  const SweepId sweep = desk.submit(1);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed, policy::Cause::kBadInput);
  EXPECT_EQ(desk.cell(0), CellState::kFailed);
  EXPECT_EQ(desk.state.sweeps[index(sweep)].state, SweepState::kFailed);
  EXPECT_EQ(desk.ask(event::RetrySweep{{}, sweep, "mara"}).cells, 1u);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.state.sweeps[index(sweep)].state, SweepState::kRunning);
  EXPECT_EQ(desk.lease(job).given.at(0).attempt, 1) << "what was is forgotten";
}

TEST(Failure, ClimbsTheLadderOfItsCauseAndEnds) {
  // default.yaml: unknown: [{retry: 1}, {other_node: 1}, give_up]
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job("100", {"n1"});
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  desk.deliver(job, desk.lease(job).given.at(0), What::kFailed);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_THAT(desk.lease(job).given, IsEmpty()) << "not on n1 any more";
  desk.end_job(job, End::kDone);
  const std::string other = desk.run_job("101", {"n2"});
  EXPECT_THAT(desk.state.job_named(other)->excluded_nodes, ElementsAre("n1"));
  desk.deliver(other, desk.lease(other).given.at(0), What::kFailed);
  EXPECT_EQ(desk.cell(0), CellState::kFailed);
}

TEST(Failure, ThatAResultBeliesIsNone) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  const Answer::Given given = desk.lease(job).given.at(0);
  desk.deliver(job, given, What::kFailed, policy::Cause::kBadInput);
  EXPECT_EQ(desk.deliver(job, given, What::kDone), 1u);
  EXPECT_EQ(desk.cell(0), CellState::kDone);
}

TEST(End, WithSeveralCellsRunningLetsEachRunAloneNext) {
  Desk desk;
  desk.submit(4, 5);
  const std::string job = desk.run_job();
  ASSERT_GT(desk.lease(job).given.size(), 1u);
  desk.end_job(job, End::kUnknown);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).crashes, 1);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).attempts(), 0) << "nobody is blamed yet";
  const std::string next = desk.run_job("101");
  EXPECT_THAT(desk.lease(next).given, SizeIs(1));
}

TEST(End, GivesBackUnharmedWhatADrainedJobHeld) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  desk.lease(job);
  desk.end_job(job, End::kDrained);
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
  EXPECT_THAT(desk.state.troubles, IsEmpty());
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(2)) << "another job is submitted for it";
}

TEST(End, TakesTheWorkersWordBeforeTheClusters) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  event::Seen seen;
  seen.name = job;
  seen.cluster_id = "100";
  seen.phase = event::Seen::Phase::kOver;
  seen.end = End::kUnknown;  // FAILED, to Slurm
  desk.put(event::Looked{desk.now.serving, {seen}});
  event::ExitRecord words;
  words.epoch = Epoch{1};
  words.end = End::kGpuMemory;
  desk.put(event::DirectoryRead{desk.state.job_named(job)->id, words, true});
  EXPECT_EQ(desk.state.job_named(job)->end, End::kGpuMemory);
}

TEST(Looks, EndAJobThatTheClusterQueuedAgainAfterItsEnd) {
  Desk desk;
  desk.submit(1);
  const std::string name = desk.run_job();
  // As before a preemption: its worker is told to end, and says how it ended.
  desk.end_job(name, End::kDrained);
  event::Seen seen;
  seen.name = name;
  seen.cluster_id = "100";
  seen.phase = event::Seen::Phase::kRunning;
  desk.put(event::Looked{desk.now.serving, {seen}});
  EXPECT_THAT(desk.all<action::Cancel>(), SizeIs(0)) << "its script may be cleaning up";
  seen.phase = event::Seen::Phase::kPending;
  desk.put(event::Looked{desk.now.serving, {seen}});
  EXPECT_THAT(desk.all<action::Cancel>(), SizeIs(1));
  EXPECT_EQ(desk.state.job_named(name)->state, JobState::kEnded);
}

TEST(Looks, CountAbsenceOnlyWhenTheyBeganLaterThanTheJob) {
  Desk desk;
  desk.submit(1);
  const JobId id = desk.state.jobs.rbegin()->first;
  const Serving before = desk.now.serving;
  desk.wait(1);
  desk.put(event::Submitted{id, "100"});
  desk.put(event::Looked{before, {}});
  EXPECT_EQ(desk.state.jobs.at(id).state, JobState::kQueued);
  desk.wait(1);
  desk.put(event::Looked{desk.now.serving, {}});
  EXPECT_EQ(desk.state.jobs.at(id).state, JobState::kMissing);
  EXPECT_THAT(desk.all<action::AskHistory>(), SizeIs(1));
  desk.wait(299);
  desk.put(event::Tick{});
  EXPECT_EQ(desk.state.jobs.at(id).state, JobState::kMissing) << "not for five minutes";
  desk.wait(2);
  desk.put(event::Tick{});
  EXPECT_EQ(desk.state.jobs.at(id).state, JobState::kEnding);
}

/// A daemon that was killed while it submitted the only job has come up again, at serving time 0.
struct AfterACrash {
  AfterACrash() {
    desk.submit(1);
    id = desk.state.jobs.rbegin()->first;
    desk.state = desk.tables.restore(desk.state.policy, "desk", {});
    desk.actions.clear();
    desk.now.serving = Serving{};
    desk.put(event::Started{});
  }
  /// A look that shows nothing, begun so many seconds after the start.
  void look_at(double seconds) {
    desk.now.serving = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
    desk.put(event::Looked{desk.now.serving, {}});
  }
  const Job& job() const { return desk.state.jobs.at(id); }
  Desk desk;
  JobId id{};
};

TEST(Looks, TellHalfAMinuteAfterAStartThatAJobWasNeverSubmitted) {
  AfterACrash after;
  after.look_at(1);
  EXPECT_EQ(after.job().state, JobState::kMissing) << "its submission may still arrive";
  EXPECT_THAT(after.desk.all<action::AskHistory>(), SizeIs(1)) << "it may be over and forgotten";
  EXPECT_FALSE(after.desk.all<action::LookSoon>().empty()) << "nobody waits for the next look in two minutes";
  after.look_at(29);
  EXPECT_EQ(after.job().state, JobState::kMissing);
  after.look_at(30);
  EXPECT_EQ(after.job().state, JobState::kEnding);
  after.desk.put(event::DirectoryRead{after.id, std::nullopt, false});
  EXPECT_EQ(after.job().end, End::kNotSubmitted);
  EXPECT_EQ(after.desk.cell(0), CellState::kWaiting);
  EXPECT_THAT(after.desk.all<action::Submit>(), SizeIs(1)) << "another job is submitted for its cell";
}

TEST(Looks, AskOnceWhoRemembersAJobBeforeTheyTakeItForNeverSubmitted) {
  AfterACrash after;
  after.look_at(45);  // the cluster did not answer sooner
  EXPECT_EQ(after.job().state, JobState::kMissing);
  EXPECT_THAT(after.desk.all<action::AskHistory>(), SizeIs(1));
  event::Seen seen;
  seen.name = after.job().name;
  seen.cluster_id = "100";
  seen.phase = event::Seen::Phase::kOver;
  seen.end = End::kDone;
  after.desk.put(event::History{true, {seen.name}, {seen}});
  EXPECT_EQ(after.job().state, JobState::kEnding);
  EXPECT_EQ(after.job().end, End::kDone) << "accounting knew it";
}

TEST(Looks, GiveAJobWhoseSubmissionWasUnclearTheWholeGrace) {
  Desk desk;
  desk.submit(1);
  const JobId id = desk.state.jobs.rbegin()->first;
  desk.put(event::NotSubmitted{id, event::NotSubmitted::Why::kUnclear, "sbatch gave no answer"});
  for (const double seconds : {40, 40, 40}) {
    desk.wait(seconds);
    desk.put(event::Looked{desk.now.serving, {}});
    EXPECT_EQ(desk.state.jobs.at(id).state, JobState::kMissing);
  }
}

TEST(Submissions, ThatAreAUsersMistakeStopOnlyWhatTheyConcern) {
  Desk desk;
  const SweepId sweep = desk.submit(2);
  const JobId id = desk.state.jobs.rbegin()->first;
  desk.put(event::NotSubmitted{id, event::NotSubmitted::Why::kMistake, "invalid account"});
  EXPECT_EQ(desk.cell(0), CellState::kFailed);
  EXPECT_EQ(desk.state.troubles.at(CellId{0}).reason, "invalid account");
  EXPECT_EQ(desk.state.sweeps[index(sweep)].state, SweepState::kFailed);
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(1)) << "it is not tried again by itself";
}

TEST(Submissions, ThatMayWorkLaterAreTriedAgainLater) {
  Desk desk;
  desk.submit(1);
  desk.put(event::NotSubmitted{desk.state.jobs.rbegin()->first, event::NotSubmitted::Why::kLater, "away"});
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(1));
  desk.wait(29);
  desk.put(event::Tick{});
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(1));
  desk.wait(2);
  desk.put(event::Tick{});
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(2));
  EXPECT_EQ(desk.cell(0), CellState::kWaiting);
}

TEST(Submissions, StopAfterThreeJobsThatNeverCalled) {
  Desk desk;
  desk.submit(1);
  for (int i = 0; i < 3; ++i) {
    const Job job = desk.state.jobs.rbegin()->second;
    desk.put(event::Submitted{job.id, std::to_string(100 + i)});
    event::Seen seen;
    seen.name = job.name;
    seen.cluster_id = std::to_string(100 + i);
    seen.phase = event::Seen::Phase::kOver;
    seen.end = End::kDone;
    desk.wait(1);
    desk.put(event::Looked{desk.now.serving, {seen}});
    desk.put(event::DirectoryRead{job.id, std::nullopt, true});
    EXPECT_EQ(desk.state.jobs.at(job.id).end, End::kLaunchFailed);
  }
  EXPECT_EQ(desk.cell(0), CellState::kFailed);
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(3));
}

TEST(Submissions, KeepWithinThePolicysQueue) {
  Desk desk;
  desk.state.policy.per_user.max_queued = 1;
  desk.state.policy.planning.backfill = 3600;
  desk.submit(40, 3000);
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(1));
  desk.run_job();
  EXPECT_THAT(desk.all<action::Submit>(), SizeIs(2)) << "the first runs now, and a place is free";
}

TEST(Submissions, AreCancelledWhenNobodyNeedsThemAnyMore) {
  Desk desk;
  const SweepId sweep = desk.submit(1);
  desk.put(event::Submitted{desk.state.jobs.rbegin()->first, "100"});
  desk.ask(event::CancelSweep{{}, sweep, "mara"});
  EXPECT_THAT(desk.all<action::Cancel>(), SizeIs(1));
}

}  // namespace
}  // namespace orch::control
