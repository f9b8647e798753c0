// What people outside are told, once each.
#include <gmock/gmock.h>

#include <algorithm>

#include "desk.h"

namespace orch::control {
namespace {

using action::Answer;
using test::Desk;
using testing::IsEmpty;
using testing::SizeIs;

/// A sweep that has come to its end, and the notice of it.
Notice ended_sweep(Desk& desk) {
  desk.submit(1);
  const std::string job = desk.run_job();
  desk.deliver(job, desk.lease(job).given.at(0), event::Delivered::What::kDone);
  const auto asked = desk.all<action::Notify>();
  EXPECT_THAT(asked, SizeIs(1));
  return asked.at(0).notice;
}

/// What a start does with what the tables hold.
Desk restarted(const Desk& before) {
  Desk desk;
  desk.actions.clear();
  desk.tables = before.tables;
  desk.state = before.tables.restore(before.state.policy, "desk", before.state.rules);
  desk.now = before.now;
  desk.put(event::Started{});
  return desk;
}

TEST(Notice, OfASweepsEndIsWrittenWithIt) {
  Desk desk;
  const Notice notice = ended_sweep(desk);
  EXPECT_EQ(notice.kind, NoticeKind::kSweepEnded);
  EXPECT_EQ(notice.sweep, SweepId{0});
  EXPECT_EQ(notice.text, "s: 1 of 1 cells are done");
  EXPECT_TRUE(desk.tables.notices.contains(notice.id));
}

TEST(Notice, OfOneMistakeThatStopsManyKindsOfCellsIsOne) {
  Desk desk;
  event::SubmitSweep sweep;
  sweep.name = "s";
  for (std::uint32_t i = 0; i < 3; ++i) {
    sweep.needs.push_back(Desk::need());
    sweep.needs.back().environment = "e" + std::to_string(i);
    event::AskedCell cell;
    cell.key.bytes[0] = static_cast<std::uint8_t>(i);
    cell.need = i;
    cell.bound = cell.expected = 100;
    sweep.cells.push_back(cell);
  }
  desk.ask(sweep);
  std::vector<JobId> jobs;
  for (const auto& [id, job] : desk.state.jobs) jobs.push_back(id);
  ASSERT_THAT(jobs, SizeIs(3));
  for (const JobId id : jobs)
    desk.put(event::NotSubmitted{id, event::NotSubmitted::Why::kMistake, "no such partition"});
  const auto asked = desk.all<action::Notify>();
  EXPECT_EQ(std::ranges::count(asked, NoticeKind::kAlert, [](const auto& it) { return it.notice.kind; }), 1);
}

TEST(Notice, IsGivenToTheFirstWhoAsks) {
  Desk desk;
  const Notice notice = ended_sweep(desk);
  EXPECT_EQ(desk.ask(event::TakeNotice{{}, notice.id}).status, Answer::Status::kOk);
  EXPECT_EQ(desk.ask(event::TakeNotice{{}, notice.id}).status, Answer::Status::kConflict);
  desk.put(event::NoticeTold{notice.id, 2, ""});
  EXPECT_THAT(desk.tables.notices, IsEmpty());
  EXPECT_EQ(desk.ask(event::TakeNotice{{}, notice.id}).status, Answer::Status::kConflict);
}

TEST(Notice, ThatNobodyTookIsAskedForAgainAtTheNextStart) {
  Desk desk;
  const Notice notice = ended_sweep(desk);
  const auto again = restarted(desk).all<action::Notify>();
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].notice.id, notice.id);
  EXPECT_EQ(again[0].notice.text, notice.text);
}

TEST(Notice, WhoseTellingWasCutShortIsNotToldTwice) {
  Desk desk;
  const Notice notice = ended_sweep(desk);
  desk.ask(event::TakeNotice{{}, notice.id});
  const Desk after = restarted(desk);
  EXPECT_THAT(after.all<action::Notify>(), IsEmpty());
  EXPECT_THAT(after.tables.notices, IsEmpty());
  EXPECT_EQ(after.tables.notes, desk.tables.notes + 1) << "the journal says that it is not clear";
}

TEST(Notice, OfAnotherStartHasAnotherId) {
  Desk desk;
  const Notice first = ended_sweep(desk);
  Desk after = restarted(desk);
  after.submit(1, 100, 8);
  const std::string job = "orch-desk-1";  // goes on
  after.deliver(job, after.lease(job).given.at(0), event::Delivered::What::kDone);
  const auto asked = after.all<action::Notify>();
  ASSERT_THAT(asked, SizeIs(2)) << "the first again, and that of the new sweep";
  EXPECT_NE(asked[1].notice.id, first.id);
}

}  // namespace
}  // namespace orch::control
