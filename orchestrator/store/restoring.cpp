// The state from its rows, in the order in which Restore takes them.
//
// Holds: rows that would lead Restore past the end of what it has are refused; SQLite's own checks do not see them in a
// file that was damaged or edited.
#include "store/lists.h"
#include "store/numbers.h"
#include "store/reading.h"

namespace orch::store {

using namespace control;

namespace {

class Restoring {
 public:
  Restoring(Database& database, policy::Policy policy, const std::string& instance, Rules rules)
      : database_(database), restore_(std::move(policy), instance, rules) {}

  State run() {
    facts();
    needs();
    sweeps();
    cells();
    wanted();
    results();
    durations();
    failures();
    jobs();
    leases();
    begun();
    notices();
    return restore_.finish();
  }

 private:
  void expect(bool well, const char* what, std::int64_t number) const {
    if (!well)
      throw Failure(database_.file().string() + ": " + what + " " + std::to_string(number) +
                    " is not where it should be; the file is damaged, bring back a backup of it");
  }
  /// Ids index vectors: they come in order, without a gap.
  void expect_next(std::size_t id, std::size_t& count, const char* what) const {
    expect(id == count, what, static_cast<std::int64_t>(id));
    ++count;
  }
  template <class Visit>
  void each(std::string_view sql, Visit&& visit) {
    Statement(database_, sql).each(std::forward<Visit>(visit));
  }

  void facts() {
    each("SELECT name, value FROM facts ORDER BY name", [&](Statement& row) {
      row::PutFact fact;
      fact.name = row.text();
      fact.value = row.text();
      restore_.take(fact);
    });
  }

  void needs() {
    each(
        "SELECT id, nodes, gpus, cpus, memory, environment, profile, loads, load, most, batch, rooms, nodes_there,"
        " whole_nodes, script_values, strikes, stopped, trains FROM needs ORDER BY id",
        [&](Statement& row) {
          Need need;
          need.id = row.number<NeedId>();
          need.resources.nodes = row.number<int>();
          need.resources.gpus = row.real();
          need.resources.cpus = row.number<int>();
          need.resources.memory = row.integer();
          need.environment = row.text();
          need.profile = row.text();
          need.loads = row.text();
          need.load = row.real();
          need.most = row.real();
          need.batch = row.integer();
          need.rooms = rooms_of(row);
          need.nodes_there = row.number<int>();
          need.whole_nodes = row.flag();
          need.script_values = row.text();
          need.strikes = row.number<int>();
          need.stopped = row.text();
          need.trains = row.flag();
          expect_next(index(need.id), needs_, "need");
          restore_.take(row::PutNeed{std::move(need)});
        });
  }

  void sweeps() {
    std::vector<row::SetSweepState> states;
    each("SELECT id, name, user, request_key, rejected_cells, submitted, state, ended FROM sweeps ORDER BY id",
         [&](Statement& row) {
           row::PutSweep sweep;
           sweep.id = row.number<SweepId>();
           sweep.name = row.text();
           sweep.user = row.text();
           sweep.request_key = row.text();
           sweep.rejected_cells = row.integer();
           sweep.submitted = row.time();
           row::SetSweepState state;
           state.id = sweep.id;
           state.state = value_of<SweepState>(row);
           state.ended = row.time();
           states.push_back(state);
           expect_next(index(sweep.id), sweeps_, "sweep");
           restore_.take(std::move(sweep));
         });
    for (const row::SetSweepState& state : states) restore_.take(state);
  }

  void cells() {
    std::vector<std::string> names;
    each("SELECT id, name FROM names ORDER BY id", [&](Statement& row) {
      const auto id = static_cast<std::size_t>(row.integer());
      expect(id < (std::size_t{1} << 24), "name", static_cast<std::int64_t>(id));
      if (id >= names.size()) names.resize(id + 1);
      names[id] = row.text();
    });
    const auto name = [&](std::int64_t number) -> const std::string& {
      expect(number >= 0 && static_cast<std::size_t>(number) < names.size(), "name", number);
      return names[static_cast<std::size_t>(number)];
    };
    // Few cells stand otherwise than Restore supposes of a new one, and the states come after the cells.
    std::vector<row::SetCellState> states;
    each(
        "SELECT id, key, need, depends, model, task, expected, bound, chunks, state, generation, basis,"
        " work FROM cells ORDER BY id",
        [&](Statement& row) {
          row::PutCell cell;
          cell.id = row.number<CellId>();
          cell.key = row.digest();
          cell.need = row.number<NeedId>();
          expect(index(cell.need) < needs_, "the need of cell", static_cast<std::int64_t>(index(cell.id)));
          const bool depends = !row.next_is_null();
          const CellId on = row.number<CellId>();
          if (depends) {
            expect(index(on) < cells_, "what is needed by cell", static_cast<std::int64_t>(index(cell.id)));
            cell.depends = on;
          }
          cell.model = name(row.integer());
          cell.task = name(row.integer());
          cell.expected = static_cast<float>(row.real());
          cell.bound = static_cast<float>(row.real());
          cell.chunks = row.number<std::uint16_t>();
          row::SetCellState state;
          state.id = cell.id;
          state.state = value_of<CellState>(row);
          state.need = cell.need;
          state.generation = row.number<std::uint16_t>();
          cell.basis = value_of<planner::Basis>(row);
          cell.work = row.number<Work>();
          if (state.state != CellState::kWaiting || state.generation != 1) states.push_back(state);
          expect_next(index(cell.id), cells_, "cell");
          restore_.take(std::move(cell));
        });
    for (const row::SetCellState& state : states) restore_.take(state);
  }

  void wanted() {
    std::size_t wanted_cells = 0;
    each("SELECT sweep, place, cell, score, generation FROM wanted ORDER BY sweep, place", [&](Statement& row) {
      row::PutWanted want;
      want.sweep = row.number<SweepId>();
      want.order = row.number<std::uint32_t>();
      want.wanted.cell = row.number<CellId>();
      want.wanted.score = static_cast<float>(row.real());
      want.wanted.generation = row.number<std::uint16_t>();
      const std::size_t cell = index(want.wanted.cell);
      expect(index(want.sweep) < sweeps_ && cell < cells_ && cell <= wanted_cells, "the wish for cell",
             static_cast<std::int64_t>(cell));
      if (cell == wanted_cells) ++wanted_cells;
      restore_.take(want);
    });
    expect(wanted_cells == cells_, "the wish for cell", static_cast<std::int64_t>(wanted_cells));
  }

  void results() {
    // The others are told by the states of their cells.
    each(
        "SELECT r.cell, r.chunk, r.generation FROM cells c CROSS JOIN results r"
        " ON r.cell = c.id AND r.generation = c.generation"
        " WHERE c.chunks > 1 AND c.state <> 3 AND r.chunk < c.chunks ORDER BY c.id, r.chunk",
        [&](Statement& row) {
          row::PutResult result;
          result.chunk.cell = row.number<CellId>();
          result.chunk.number = row.number<std::uint32_t>();
          result.generation = row.number<std::uint16_t>();
          restore_.take(result);
        });
  }

  void durations() {
    // The latest, the oldest of them first: by their numbers, so that the rest of the table is not touched.
    each("SELECT cell, seconds FROM (SELECT id, cell, seconds FROM results ORDER BY id DESC LIMIT " +
             std::to_string(Durations::kWindow) + ") ORDER BY id",
         [&](Statement& row) {
           const auto cell = row.number<CellId>();
           expect(index(cell) < cells_, "a result of cell", static_cast<std::int64_t>(index(cell)));
           restore_.measured(cell, row.real());
         });
  }

  void failures() {
    each(
        "SELECT cell, generation, job, cause, remedy, factor, crash, counts, nodes, at, reason FROM failures"
        " ORDER BY id",
        [&](Statement& row) {
          row::PutFailure failure = failure_of(row);
          expect(index(failure.cell) < cells_, "a failure of cell", static_cast<std::int64_t>(index(failure.cell)));
          restore_.take(std::move(failure));
        });
  }

  void jobs() {
    each(
        "SELECT id, name, need, sweep, nodes, gpus, cpus, memory, environment, profile, script_values, time_limit,"
        " excluded_nodes, state, cluster_id, cluster_says, epoch, restarts, copy, runs_on, taken, passed_over,"
        " delivered, gpu_seconds, submitted, started, ended, ended_as, reason, cancel_asked FROM jobs ORDER BY id",
        [&](Statement& row) {
          Job job;
          job.id = row.number<JobId>();
          job.name = row.text();
          job.need = row.number<NeedId>();
          job.sweep = row.number<SweepId>();
          job.resources.nodes = row.number<int>();
          job.resources.gpus = row.real();
          job.resources.cpus = row.number<int>();
          job.resources.memory = row.integer();
          job.environment = row.text();
          job.profile = row.text();
          job.script_values = row.text();
          job.time_limit = row.integer();
          job.excluded_nodes = texts_of(row);
          job.state = value_of<JobState>(row);
          job.cluster_id = row.text();
          job.cluster_says = row.text();
          job.epoch = row.number<Epoch>();
          job.restarts = row.number<int>();
          job.copy = row.text();
          job.nodes = texts_of(row);
          job.taken = row.number<std::uint32_t>();
          job.passed_over = row.flag();
          job.delivered = row.number<std::uint32_t>();
          job.gpu_seconds = row.real();
          job.submitted = row.time();
          job.started = row.time();
          job.ended = row.time();
          const bool has_end = !row.next_is_null();
          if (has_end)
            job.end = value_of<End>(row);
          else
            row.integer();
          job.reason = row.text();
          job.cancel_asked = row.flag();
          expect(index(job.need) < needs_ && index(job.sweep) < sweeps_, "job",
                 static_cast<std::int64_t>(index(job.id)));
          restore_.take(row::PutJob{std::move(job)});
        });
  }

  void leases() {
    each(
        "SELECT l.cell, l.chunk, l.job, l.epoch, l.ticket, l.chunk < c.chunks AND j.id IS NOT NULL FROM leases l"
        " LEFT JOIN cells c ON c.id = l.cell LEFT JOIN jobs j ON j.id = l.job ORDER BY l.cell, l.chunk",
        [&](Statement& row) {
          row::PutLease lease;
          lease.chunk.cell = row.number<CellId>();
          lease.chunk.number = row.number<std::uint32_t>();
          lease.job = row.number<JobId>();
          lease.epoch = row.number<Epoch>();
          lease.ticket = row.number<Ticket>();
          expect(row.flag(), "a lease of cell", static_cast<std::int64_t>(index(lease.chunk.cell)));
          restore_.take(lease);
        });
  }

  void begun() {
    each(
        "SELECT b.cell, b.chunk, b.job, b.ticket, b.chunk < c.chunks AND j.id IS NOT NULL FROM begun b"
        " LEFT JOIN cells c ON c.id = b.cell LEFT JOIN jobs j ON j.id = b.job ORDER BY b.id",
        [&](Statement& row) {
          row::PutBegun begun;
          begun.chunk.cell = row.number<CellId>();
          begun.chunk.number = row.number<std::uint32_t>();
          begun.job = row.number<JobId>();
          begun.ticket = row.number<Ticket>();
          expect(row.flag(), "an attempt at cell", static_cast<std::int64_t>(index(begun.chunk.cell)));
          restore_.take(begun);
        });
  }

  void notices() {
    each("SELECT id, kind, sweep, at, taken, text FROM notices ORDER BY id", [&](Statement& row) {
      Notice notice;
      notice.id = row.number<NoticeId>();
      notice.kind = value_of<NoticeKind>(row);
      const bool has_sweep = !row.next_is_null();
      const auto sweep = row.number<SweepId>();
      if (has_sweep) {
        expect(index(sweep) < sweeps_, "the sweep of notice", static_cast<std::int64_t>(index(notice.id)));
        notice.sweep = sweep;
      }
      notice.at = row.time();
      notice.taken = row.flag();
      notice.text = row.text();
      restore_.take(row::PutNotice{std::move(notice)});
    });
  }

  Database& database_;
  Restore restore_;
  std::size_t needs_ = 0, sweeps_ = 0, cells_ = 0;
};

}  // namespace

State read_state(Database& database, policy::Policy policy, const std::string& instance, Rules rules) {
  return Restoring(database, std::move(policy), instance, rules).run();
}

}  // namespace orch::store
