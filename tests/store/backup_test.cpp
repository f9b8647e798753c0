// Copies, what is brought back from one, and what check() finds.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "sim/invariants.h"
#include "store/child.h"
#include "store/place.h"
#include "store/play.h"

namespace orch::store {
namespace {

using namespace control;
using test::Place, test::Play;
using testing::AllOf, testing::Contains, testing::Each, testing::ElementsAre, testing::HasSubstr, testing::IsEmpty,
    testing::Not, testing::SizeIs;

std::string error_of(const Result<std::monostate>& result) { return result ? "" : result.error().what; }

/// A store in which something of every kind lies, with leases of jobs that run.
std::unique_ptr<Store> lived_in(const Place& place, Play& play) {
  auto store = place.open();
  for (int i = 0; i < 2000 && (i < 300 || play.state.leases.size() < 3); ++i) {
    play.step();
    test::commit(*store, play.take());
  }
  return store;
}

TEST(Backup, UnderLoadIsAStateThatWasCommitted) {
  const Place place;
  const auto store = place.open();
  // Several steps of the copy, so that commits come between them.
  Effects ballast;
  for (int i = 0; i < 40; ++i)
    ballast.changes.emplace_back(row::PutFact{"ballast" + std::to_string(i), std::string(100'000, 'b')});
  test::commit(*store, {ballast});

  std::atomic<std::int64_t> committed = -1;
  std::atomic<bool> enough = false;
  std::thread writer([&] {
    for (int number = 0; !enough; ++number) {
      test::commit(*store, test::group(number));
      committed = number;
    }
  });
  while (committed < 0) std::this_thread::yield();
  for (int i = 0; i < 5; ++i) {
    const test::fs::path file = place.other("backup" + std::to_string(i));
    const std::int64_t before = committed;
    ASSERT_EQ(error_of(store->backup(file)), "");
    const std::int64_t after = committed + 1;
    Database copy(file, Database::Mode::kReadStill);
    const std::int64_t number = copy.number("SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'policy'");
    EXPECT_GE(number, before);
    EXPECT_LE(number, after);
    EXPECT_EQ(copy.number("SELECT count(*) FROM events"), (number + 1) * test::kNotesOfAGroup);
    EXPECT_FALSE(test::fs::exists(file.string() + "-wal"));
  }
  enough = true;
  writer.join();
}

TEST(Backup, TakesTheInstanceAndTheRowsWithItAndNoOtherFilesPlace) {
  const Place place;
  const auto store = place.open();
  test::commit(*store, test::group(1));
  const test::fs::path file = place.other("backup");
  ASSERT_EQ(error_of(store->backup(file)), "");
  EXPECT_EQ(test::fs::status(file).permissions(), test::fs::perms::owner_read | test::fs::perms::owner_write);
  EXPECT_EQ(Database(file, Database::Mode::kReadStill).number("SELECT count(*) FROM events"), test::kNotesOfAGroup);
  EXPECT_THAT(error_of(store->backup(file)), HasSubstr(file.string() + " is there already"));
  EXPECT_THAT(error_of(store->backup(place.other("nowhere") / "backup")),
              HasSubstr("there is no folder " + place.other("nowhere").string() + " for"));
}

TEST(RestoredBackup, IsAnotherInstanceThatOwnsNoJobAndKeepsEveryResult) {
  const Place place;
  Play play(3, "play");
  auto store = lived_in(place, play);
  const State before = store->restore(play.state.policy, {});
  std::size_t alive = 0;
  for (const auto& [id, job] : before.jobs) alive += job.state != JobState::kEnded;
  ASSERT_GT(alive, 0u);
  ASSERT_GT(before.leases.size(), 0u);
  const test::fs::path file = place.other("backup");
  ASSERT_EQ(error_of(store->backup(file)), "");

  const test::fs::path directory = place.other("elsewhere");
  ASSERT_EQ(error_of(restore_backup(file, directory)), "");
  const auto copy = Place::opened(Store::open(directory, Place::options()));
  EXPECT_NE(copy->instance(), store->instance());
  const State after = copy->restore(play.state.policy, {});
  EXPECT_THAT(copy->check(), IsEmpty());
  EXPECT_EQ(sim::broken_in(after), "");
  EXPECT_EQ(after.leases.size(), 0u);
  ASSERT_EQ(after.jobs.size(), before.jobs.size());
  EXPECT_EQ(after.next_job, before.next_job);
  for (const auto& [id, job] : after.jobs) {
    const Job& was = before.jobs.at(id);
    EXPECT_EQ(job.state, JobState::kEnded);
    EXPECT_EQ(job.name, was.name);
    if (was.state == JobState::kEnded) {
      EXPECT_EQ(job.end, was.end);
      EXPECT_EQ(job.reason, was.reason);
    } else {
      EXPECT_EQ(job.end, End::kAbsent);
      EXPECT_NE(job.ended, Utc{});
      EXPECT_THAT(job.reason, AllOf(HasSubstr("of another instance"), HasSubstr(store->instance())));
    }
  }
  ASSERT_EQ(after.cells.size(), before.cells.size());
  for (std::size_t i = 0; i < after.cells.size(); ++i) {
    const CellState was = before.cells[i].state == CellState::kRunning ? CellState::kWaiting : before.cells[i].state;
    EXPECT_EQ(after.cells[i].state, was);
    EXPECT_EQ(after.cells[i].key, before.cells[i].key);
  }
  const auto metrics = [](const Store& of, std::uint32_t sweeps) {
    std::vector<std::string> all;
    for (std::uint32_t i = 0; i < sweeps; ++i)
      of.each_result(SweepId{i},
                     [&](const ResultRow& row) { all.insert(all.end(), row.metrics.begin(), row.metrics.end()); });
    return all;
  };
  const auto sweeps = static_cast<std::uint32_t>(before.sweeps.size());
  EXPECT_EQ(metrics(*copy, sweeps), metrics(*store, sweeps));
  // The journal says so, of each job.
  const std::size_t noted = store->events(0, 1'000'000).size();
  EXPECT_THAT(copy->events(static_cast<std::int64_t>(noted), 1'000'000), SizeIs(alive));
}

TEST(RestoredBackup, TakesNoOtherDatabasesPlaceAndIsTakenFromNoneInUse) {
  const Place place;
  test::commit(*place.open(), test::group(1));
  const test::fs::path file = place.other("backup");
  ASSERT_EQ(error_of(place.open()->backup(file)), "");
  EXPECT_THAT(error_of(restore_backup(file, place.state())), HasSubstr("orch.db is there already"));
  EXPECT_EQ(place.open()->policy_text(), "1");

  EXPECT_THAT(error_of(restore_backup(place.other("none"), place.other("x"))), HasSubstr("none is not there"));
  std::ofstream(place.other("text")) << std::string(5000, 'x');
  EXPECT_THAT(error_of(restore_backup(place.other("text"), place.other("x"))), HasSubstr("no SQLite database"));

  const auto store = place.open();
  test::commit(*store, test::group(2));
  EXPECT_THAT(error_of(restore_backup(place.database(), place.other("x"))), HasSubstr("a database in use"));
  EXPECT_FALSE(test::fs::exists(place.other("x") / "orch.db"));
}

TEST(Check, NamesAFileWhosePagesAreDamaged) {
  const Place place;
  Effects ballast;
  for (int i = 0; i < 300; ++i)
    ballast.changes.emplace_back(row::Note{Utc{}, "test", -1, -1, -1, std::string(3000, 'n')});
  test::commit(*place.open(), {ballast});
  {
    std::fstream file(place.database(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(test::fs::file_size(place.database()) / 2 / 4096 * 4096));
    file << std::string(4096, 'x');
  }
  const auto store = place.open();
  EXPECT_THAT(store->check(), AllOf(Contains(HasSubstr(place.database().string())),
                                    Each(AllOf(HasSubstr(": "), Not(HasSubstr("\n")), Not(HasSubstr("***"))))));
  EXPECT_THROW(store->events(0, 1000), Failure);
}

/// One cell of three chunks that is done, one of one chunk that waits.
std::vector<Effects> two_cells() {
  Effects effects;
  row::PutSweep sweep;
  sweep.name = "s";
  effects.changes = {sweep, row::PutNeed{}};
  for (std::uint32_t i = 0; i < 2; ++i) {
    row::PutCell cell;
    cell.id = CellId{i};
    cell.key.bytes[0] = static_cast<std::uint8_t>(i);
    cell.chunks = i == 0 ? 3 : 1;
    effects.changes.emplace_back(cell);
    effects.changes.emplace_back(row::PutWanted{SweepId{0}, i, Wanted{CellId{i}, 1, 1}});
  }
  Job job;
  job.id = JobId{1};
  job.name = "j";
  effects.changes.emplace_back(row::PutJob{job});
  for (std::uint32_t chunk = 0; chunk < 3; ++chunk)
    effects.changes.emplace_back(row::PutResult{{CellId{0}, chunk}, 1, JobId{1}, "{}", 1, 1, Utc{}});
  effects.changes.emplace_back(row::SetCellState{CellId{0}, CellState::kDone, NeedId{0}, 1});
  effects.changes.emplace_back(row::PutLease{{CellId{1}, 0}, JobId{1}, Epoch{1}, Ticket{1}});
  return {effects};
}

struct Damage {
  std::string sql, found;
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.sql; }
class CheckFinds : public testing::TestWithParam<Damage> {};

TEST_P(CheckFinds, WhatContradictsItself) {
  const Place place;
  test::commit(*place.open(), two_cells());
  ASSERT_THAT(place.open()->check(), IsEmpty());
  place.tell("PRAGMA foreign_keys = OFF; " + GetParam().sql);
  EXPECT_THAT(place.open()->check(), Contains(HasSubstr(GetParam().found)));
}
INSTANTIATE_TEST_SUITE_P(
    Each, CheckFinds,
    testing::Values(Damage{"DELETE FROM results WHERE chunk = 1", "cell 0 is done, and 1 of its 3 results are missing"},
                    Damage{"UPDATE results SET generation = 2 WHERE chunk > 0", "2 of its 3 results are missing"},
                    Damage{"UPDATE leases SET cell = 0", "cell 0 is done, and its chunk 0 is leased to job 1"},
                    Damage{"UPDATE leases SET chunk = 1", "chunk 1 of cell 1 is leased, and the cell has 1"},
                    Damage{"UPDATE jobs SET state = 6, ended_as = 0", "cell 1 is leased to job j, which has ended"},
                    Damage{"DELETE FROM leases; UPDATE jobs SET state = 6", "job j has ended, and nothing says how"},
                    Damage{"DELETE FROM wanted WHERE cell = 1", "cell 1 is wanted by no sweep"},
                    Damage{"UPDATE wanted SET generation = 2 WHERE cell = 1", "sweep 0 wants generation 2 of cell 1"},
                    Damage{"UPDATE cells SET depends = 1 WHERE id = 0", "cell 0 needs cell 1, which was made after it"},
                    Damage{"UPDATE cells SET id = 7 WHERE id = 1", "there are 2 cells, and the last is 7"},
                    Damage{"DELETE FROM cell_texts WHERE cell = 1", "cell 1 has no content"},
                    Damage{"DELETE FROM jobs", "a row of results refers to one of jobs that is not there"}));

class Unrestorable : public testing::TestWithParam<std::string> {};

TEST_P(Unrestorable, RowsAreRefusedAndNotTakenForAState) {
  const Place place;
  test::commit(*place.open(), two_cells());
  place.tell("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; " + GetParam());
  const auto store = place.open();
  try {
    store->restore(policy::shipped("default"), {});
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_THAT(failure.what(), AllOf(HasSubstr(place.database().string()), HasSubstr("is damaged")));
  }
}
INSTANTIATE_TEST_SUITE_P(Each, Unrestorable,
                         testing::Values("UPDATE cells SET id = 7 WHERE id = 1", "UPDATE cells SET need = 9",
                                         "UPDATE cells SET depends = 1", "UPDATE cells SET state = 77 WHERE id = 0",
                                         "UPDATE cells SET model = 99", "UPDATE cells SET key = x'00' WHERE id = 1",
                                         "UPDATE wanted SET cell = 9 WHERE cell = 1",
                                         "DELETE FROM wanted WHERE cell = 1", "DELETE FROM needs", "DELETE FROM sweeps",
                                         "UPDATE leases SET chunk = 5", "DELETE FROM jobs",
                                         "UPDATE jobs SET runs_on = '[1'", "UPDATE jobs SET excluded_nodes = '[1]'",
                                         "UPDATE needs SET rooms = '[[1]]'", "UPDATE jobs SET state = 99"));

}  // namespace
}  // namespace orch::store
