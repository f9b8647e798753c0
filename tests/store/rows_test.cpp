// What is written is what is read: the store against the tables of the simulator, which hold the same rows in memory.
#include <gmock/gmock.h>

#include "sim/invariants.h"
#include "sim/tables.h"
#include "store/numbers.h"
#include "store/place.h"
#include "store/play.h"

namespace orch::store {
namespace {

using namespace control;
using test::Place, test::Play;
using testing::ElementsAre, testing::IsEmpty, testing::SizeIs;

auto fields(const Need& it) {
  return std::tie(it.id, it.resources, it.environment, it.profile, it.loads, it.trains, it.load, it.most, it.batch,
                  it.rooms, it.nodes_there, it.whole_nodes, it.script_values, it.strikes, it.stopped, it.like);
}
auto fields(const Job& it) {
  return std::tie(it.id, it.name, it.need, it.sweep, it.resources, it.environment, it.profile, it.script_values,
                  it.time_limit, it.excluded_nodes, it.state, it.cluster_id, it.cluster_says, it.epoch, it.restarts,
                  it.copy, it.nodes, it.taken, it.passed_over, it.delivered, it.gpu_seconds, it.submitted, it.started,
                  it.ended, it.end, it.reason, it.cancel_asked);
}
auto fields(const Cell& it) {
  return std::tie(it.key, it.need, it.depends, it.model, it.task, it.expected, it.bound, it.generation, it.chunks,
                  it.state, it.basis, it.work);
}
auto fields(const Wanted& it) { return std::tie(it.cell, it.score, it.generation); }
auto fields(const Want& it) { return std::tie(it.sweep, it.order); }
auto fields(const Trouble& it) {
  return std::tie(it.tried, it.more_time, it.smaller_batch, it.excluded_nodes, it.crashes, it.reason);
}
auto fields(const Node& it) { return std::tie(it.failures, it.excluded_until); }

template <class Item>
bool same(const std::vector<Item>& a, const std::vector<Item>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Item& x, const Item& y) { return fields(x) == fields(y); });
}
template <class Map>
bool same_map(const Map& a, const Map& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    if constexpr (requires { fields(x.second); })
      return x.first == y.first && fields(x.second) == fields(y.second);
    else
      return x.first == y.first && same(x.second, y.second);
  });
}

/// Where two restored states differ, field for field; empty: nowhere.
std::string differ(const State& a, const State& b) {
  if (!same(a.needs, b.needs)) return "needs";
  if (!same(a.cells, b.cells)) return "cells";
  for (const Cell& cell : a.cells)
    if (a.names[cell.model] != b.names[cell.model] || a.names[cell.task] != b.names[cell.task]) return "names";
  if (!same(a.first_want, b.first_want) || !same_map(a.more_wants, b.more_wants)) return "wants";
  if (a.sweeps.size() != b.sweeps.size()) return "sweeps";
  for (std::size_t i = 0; i < a.sweeps.size(); ++i) {
    const Sweep &x = a.sweeps[i], &y = b.sweeps[i];
    if (std::tie(x.id, x.name, x.user, x.request_key, x.rejected_cells, x.state, x.submitted, x.ended, x.counts) !=
            std::tie(y.id, y.name, y.user, y.request_key, y.rejected_cells, y.state, y.submitted, y.ended, y.counts) ||
        !same(x.cells, y.cells))
      return "sweep " + std::to_string(i);
  }
  if (a.by_request != b.by_request) return "requests";
  if (!same_map(a.jobs, b.jobs) || a.by_name != b.by_name || a.next_job != b.next_job) return "jobs";
  if (a.dependents != b.dependents || a.chunks != b.chunks) return "chunks or dependents";
  if (a.durations != b.durations) return "durations";
  if (a.open_jobs != b.open_jobs) return "open jobs";
  if (!same_map(a.troubles, b.troubles)) return "troubles";
  if (!same_map(a.nodes, b.nodes) || a.held_models != b.held_models || a.starts != b.starts) return "facts";
  if (a.begun != b.begun) return "what was begun";
  if (a.leases.size() != b.leases.size()) return "leases";
  for (const auto& [id, job] : a.jobs)
    for (const Chunk& chunk : a.leases.of(id)) {
      const Lease *x = a.leases.find(chunk), *y = b.leases.find(chunk);
      if (!y || std::tie(x->job, x->epoch, x->ticket) != std::tie(y->job, y->epoch, y->ticket)) return "a lease";
    }
  return "";
}

/// What each_result() is to say, from the rows in memory.
std::vector<ResultRow> results_of(const sim::Tables& tables, const State& state, SweepId sweep) {
  std::vector<ResultRow> rows;
  for (const row::PutWanted& want : tables.wanted) {
    if (want.sweep != sweep) continue;
    const row::PutCell& cell = tables.cells[index(want.wanted.cell)];
    const auto written = tables.cell_states.find(cell.id);
    ResultRow row;
    row.cell = cell.id;
    row.order = want.order;
    row.text = {cell.model, cell.task, cell.content, cell.settings, to_hex(cell.key)};
    row.score = want.wanted.score;
    row.generation = want.wanted.generation;
    row.state = written == tables.cell_states.end() ? CellState::kWaiting : written->second.state;
    if (state.cells[index(cell.id)].generation > row.generation) row.state = CellState::kDone;
    for (std::uint32_t chunk = 0; chunk < cell.chunks; ++chunk)
      if (const auto result = tables.results.find({cell.id, row.generation, chunk}); result != tables.results.end()) {
        row.metrics.push_back(result->second.metrics);
        row.gpu_seconds += result->second.gpu_seconds;
        row.seconds += result->second.seconds;
      }
    for (const row::PutFailure& failure : tables.failures)
      if (failure.cell == cell.id && failure.generation == row.generation) {
        row.attempts += failure.counts;
        row.last_reason = failure.reason;
      }
    row.attempts += row.state == CellState::kDone;
    rows.push_back(std::move(row));
  }
  return rows;
}
auto fields(const CellText& it) { return std::tie(it.model, it.task, it.content, it.settings, it.key); }
bool same(const ResultRow& a, const ResultRow& b) {
  return fields(a.text) == fields(b.text) &&
         std::tie(a.cell, a.order, a.score, a.generation, a.metrics, a.gpu_seconds, a.seconds, a.attempts,
                  a.last_reason, a.state) == std::tie(b.cell, b.order, b.score, b.generation, b.metrics, b.gpu_seconds,
                                                      b.seconds, b.attempts, b.last_reason, b.state);
}
bool same(const row::PutFailure& a, const row::PutFailure& b) {
  return std::tie(a.cell, a.generation, a.job, a.cause, a.remedy, a.factor, a.crash, a.counts, a.nodes, a.reason,
                  a.at) ==
         std::tie(b.cell, b.generation, b.job, b.cause, b.remedy, b.factor, b.crash, b.counts, b.nodes, b.reason, b.at);
}

void expect_same_reports(const Store& store, const sim::Tables& tables, const State& state) {
  for (const row::PutSweep& sweep : tables.sweeps) {
    const std::vector<ResultRow> expected = results_of(tables, state, sweep.id);
    std::size_t seen = 0;
    store.each_result(sweep.id, [&](const ResultRow& row) {
      ASSERT_LT(seen, expected.size());
      EXPECT_TRUE(same(row, expected[seen])) << "sweep " << index(sweep.id) << ", place " << seen;
      ++seen;
    });
    EXPECT_EQ(seen, expected.size());
    EXPECT_EQ(store.matrix_of(sweep.id), sweep.matrix);
    EXPECT_EQ(store.rejected_of(sweep.id), sweep.rejected);
  }
  for (const row::PutCell& cell : tables.cells) {
    EXPECT_EQ(store.cell(cell.id).content, cell.content);
    EXPECT_EQ(store.cell_with_key(to_hex(cell.key)), cell.id);
    std::vector<row::PutFailure> expected;
    for (const row::PutFailure& failure : tables.failures)
      if (failure.cell == cell.id) expected.push_back(failure);
    const std::vector<row::PutFailure> failures = store.failures(cell.id);
    ASSERT_EQ(failures.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(same(failures[i], expected[i]));
  }
  const auto policy = tables.facts.find("policy");
  EXPECT_EQ(store.policy_text(), policy == tables.facts.end() ? std::nullopt : std::optional(policy->second));
  EXPECT_THAT(store.events(0, 1'000'000), SizeIs(tables.notes));
}

struct Kinds {
  std::size_t done = 0, failed = 0, leases = 0, begun = 0, ended = 0, several_chunks = 0, generations = 0;
};

/// One life of 500 events. Commits groups of a few events to both, restarts now and then.
Kinds live(std::uint64_t seed) {
  const Place place;
  auto store = place.open();
  sim::Tables tables;
  Play play(seed, store->instance());
  Kinds kinds;
  for (int i = 0; i < 500; ++i) {
    play.step();
    if (!play.chance(0.3)) continue;
    const std::vector<Effects> group = play.take();
    test::commit(*store, group);
    for (const Effects& effects : group)
      for (const Change& change : effects.changes) tables.put(change);
    kinds.leases = std::max(kinds.leases, play.state.leases.size());
    kinds.begun = std::max(kinds.begun, play.state.begun.size());
    kinds.several_chunks = std::max(kinds.several_chunks, play.state.chunks.size());
    if (!play.chance(0.1)) continue;
    if (play.chance(0.5)) {
      store.reset();
      store = place.open();
    }
    State restored = store->restore(play.state.policy, play.state.rules);
    EXPECT_THAT(differ(tables.restore(play.state.policy, store->instance(), play.state.rules), restored), IsEmpty())
        << "seed " << seed << ", event " << i;
    EXPECT_THAT(sim::difference(play.state, restored), IsEmpty()) << "seed " << seed << ", event " << i;
    EXPECT_EQ(restored.instance, store->instance());
    if (play.chance(0.5)) play.restart(std::move(restored));
    if (testing::Test::HasFailure()) return kinds;
  }
  for (const Effects& effects : play.take()) {
    test::commit(*store, {effects});
    for (const Change& change : effects.changes) tables.put(change);
  }
  EXPECT_THAT(tables.broken, IsEmpty());
  EXPECT_THAT(store->check(), IsEmpty()) << "seed " << seed;
  expect_same_reports(*store, tables, play.state);
  for (const Cell& cell : play.state.cells) {
    kinds.done += cell.state == CellState::kDone;
    kinds.failed += cell.state == CellState::kFailed;
    kinds.generations += cell.generation > 1;
  }
  for (const auto& [id, job] : play.state.jobs) kinds.ended += job.state == JobState::kEnded;
  return kinds;
}

TEST(Rows, GiveBackTheStateThatWroteThemWhateverHappened) {
  Kinds all;
  for (std::uint64_t seed = 0; seed < 8 && !testing::Test::HasFailure(); ++seed) {
    const Kinds kinds = live(seed);
    all.done += kinds.done;
    all.failed += kinds.failed;
    all.leases += kinds.leases;
    all.begun += kinds.begun;
    all.ended += kinds.ended;
    all.several_chunks += kinds.several_chunks;
    all.generations += kinds.generations;
  }
  // The lives were worth living: each kind of row came up.
  EXPECT_GT(all.done, 20u);
  EXPECT_GT(all.failed, 20u);
  EXPECT_GT(all.leases, 20u);
  EXPECT_GT(all.begun, 20u);
  EXPECT_GT(all.ended, 20u);
  EXPECT_GT(all.several_chunks, 5u);
  EXPECT_GT(all.generations, 3u);
}

/// A sweep with one need, and cells whose keys begin with the bytes given.
Effects sweep_of(const std::vector<std::vector<std::uint8_t>>& keys) {
  Effects effects;
  row::PutSweep sweep;
  sweep.name = "s";
  effects.changes.emplace_back(sweep);
  effects.changes.emplace_back(row::PutNeed{});
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    row::PutCell cell;
    cell.id = CellId{i};
    std::copy(keys[i].begin(), keys[i].end(), cell.key.bytes.begin());
    cell.model = "m";
    cell.task = "t";
    effects.changes.emplace_back(cell);
    effects.changes.emplace_back(row::PutWanted{SweepId{0}, i, Wanted{CellId{i}, 1, 1}});
  }
  return effects;
}

TEST(Rows, FindACellByAnyBeginningOfItsKeyThatNoOtherHas) {
  const Place place;
  const auto store = place.open();
  test::commit(*store, {sweep_of({{0xab, 0xcd, 0x00}, {0xab, 0xcd, 0xff}, {0xac}})});
  EXPECT_EQ(store->cell_with_key("abcd0"), CellId{0});
  EXPECT_EQ(store->cell_with_key("ABCDF"), CellId{1});
  EXPECT_EQ(store->cell_with_key("ac"), CellId{2});
  EXPECT_EQ(store->cell_with_key("ab"), std::nullopt);  // two of them
  EXPECT_EQ(store->cell_with_key("b"), std::nullopt);
  EXPECT_EQ(store->cell_with_key(""), std::nullopt);
  EXPECT_EQ(store->cell_with_key("xy"), std::nullopt);
  EXPECT_EQ(store->cell_with_key(std::string(65, 'a')), std::nullopt);
}

TEST(Rows, OfAGroupThatContradictsWhatIsThereAreNotWrittenAtAll) {
  const Place place;
  const auto store = place.open();
  test::commit(*store, {sweep_of({{1}, {2}})});
  std::vector<Effects> group = test::group(7);
  group.push_back(sweep_of({{3}}));  // cell 0 a second time
  const auto committed = store->commit(group);
  ASSERT_FALSE(committed.ok());
  EXPECT_THAT(committed.error().what,
              testing::AllOf(testing::HasSubstr(place.database().string()), testing::HasSubstr("contradicts")));
  EXPECT_THAT(store->events(0, 10), IsEmpty());
  EXPECT_EQ(store->policy_text(), std::nullopt);
  // What the group had brought in and lost again is brought in anew.
  test::commit(*store, test::group(8));
  EXPECT_THAT(store->events(0, 10), SizeIs(5));
  EXPECT_EQ(store->events(0, 1).at(0).note.kind, "test");
}

TEST(Rows, ThatAreToBeChangedMustBeThere) {
  const Place place;
  const auto store = place.open();
  Effects effects;
  effects.changes.emplace_back(row::SetCellState{CellId{4}, CellState::kDone, NeedId{0}, 1});
  const auto committed = store->commit(std::span(&effects, 1));
  ASSERT_FALSE(committed.ok());
  EXPECT_THAT(committed.error().what, testing::HasSubstr("there is no cell 4"));
}

TEST(Rows, OfTheJournalComeInTheirOrderFromWhereOneStopped) {
  const Place place;
  const auto store = place.open();
  for (int i = 0; i < 3; ++i) test::commit(*store, test::group(i));
  const auto first = store->events(0, 7);
  ASSERT_THAT(first, SizeIs(7));
  const auto rest = store->events(first.back().number, 100);
  ASSERT_THAT(rest, SizeIs(8));
  EXPECT_EQ(first.back().note.sweep, 1);
  EXPECT_EQ(rest.front().note.text, "note 1");
  EXPECT_EQ(rest.back().note.text, "note 2");
  EXPECT_EQ(rest.back().note.cell, -1);
}

/// As docs/formats.md lists them: a number in a file never changes its meaning.
TEST(NumbersOnDisk, StandForWhatTheyStoodForWhenTheyWereWritten) {
  const auto names = []<class Value>(Value) {
    std::vector<std::string> all;
    for (const Value value : OnDisk<Value>::kValues) all.emplace_back(name_of(value));
    return all;
  };
  EXPECT_THAT(names(CellState{}), ElementsAre("blocked", "waiting", "running", "done", "failed", "cancelled"));
  EXPECT_THAT(names(SweepState{}), ElementsAre("running", "held", "done", "failed", "cancelled"));
  EXPECT_THAT(names(JobState{}),
              ElementsAre("submitting", "queued", "running", "draining", "missing", "ending", "ended"));
  EXPECT_THAT(names(End{}), ElementsAre("done", "drained", "superseded", "cancelled", "timeout", "preempted",
                                        "node_failure", "gpu_memory", "host_memory", "nan", "lost_peer", "bad_input",
                                        "launch_failed", "not_submitted", "absent", "unknown"));
  EXPECT_THAT(names(policy::Cause{}), ElementsAre("gpu_memory", "host_memory", "timeout", "node_failure", "preempted",
                                                  "nan", "lost_peer", "load_failed", "bad_input", "unknown"));
  EXPECT_THAT(names(policy::Remedy{}),
              ElementsAre("retry", "smaller_batch", "more_gpus", "less_tensor_more_pipeline", "int8", "more_time",
                          "more_memory", "other_node", "lower_rate", "other_engine", "give_up"));
}

}  // namespace
}  // namespace orch::store
