#include "store/writing.h"

#include "store/lists.h"
#include "store/numbers.h"

namespace orch::store {

using namespace control;

namespace {

/// Texts that are remembered before all are forgotten: settings may be as many as cells.
constexpr std::size_t kMostShared = 20'000;

std::optional<std::int64_t> unless_none(std::int64_t number) {
  return number < 0 ? std::nullopt : std::optional(number);
}

}  // namespace

Shared::Shared(Database& database, const std::string& table, const std::string& column)
    : find_(database, "SELECT id FROM " + table + " WHERE " + column + " = ?"),
      add_(database, "INSERT INTO " + table + " (" + column + ") VALUES (?) RETURNING id") {}

std::int64_t Shared::number(const std::string& text) {
  if (const auto known = known_.find(text); known != known_.end()) return known->second;
  std::optional<std::int64_t> number;
  const auto take = [&](Statement& row) { number = row.integer(); };
  find_.each(take, text);
  if (!number) add_.each(take, text);
  if (known_.size() == kMostShared) known_.clear();
  known_.emplace(text, *number);
  return *number;
}

RowWriter::RowWriter(Database& database)
    : database_(database),
      names_(database, "names", "name"),
      settings_(database, "settings", "text"),
      put_fact_(
          database,
          "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"),
      drop_fact_(database, "DELETE FROM facts WHERE name = ?"),
      put_need_(
          database,
          "INSERT INTO needs (id, nodes, gpus, cpus, memory, environment, profile, loads, load, most, batch, rooms,"
          " nodes_there, whole_nodes, script_values, strikes, stopped, trains)"
          " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
          " ON CONFLICT (id) DO UPDATE SET nodes = excluded.nodes, gpus = excluded.gpus, cpus = excluded.cpus,"
          " memory = excluded.memory, environment = excluded.environment, profile = excluded.profile,"
          " loads = excluded.loads, load = excluded.load, most = excluded.most, batch = excluded.batch,"
          " rooms = excluded.rooms, nodes_there = excluded.nodes_there, whole_nodes = excluded.whole_nodes,"
          " script_values = excluded.script_values, strikes = excluded.strikes, stopped = excluded.stopped,"
          " trains = excluded.trains"),
      put_sweep_(database,
                 "INSERT INTO sweeps (id, name, user, request_key, rejected_cells, submitted)"
                 " VALUES (?, ?, ?, ?, ?, ?)"),
      put_sweep_texts_(database, "INSERT INTO sweep_texts (sweep, matrix, rejected) VALUES (?, ?, ?)"),
      set_sweep_(database, "UPDATE sweeps SET state = ?, ended = ? WHERE id = ?"),
      put_cell_(database,
                "INSERT INTO cells (id, key, need, depends, model, task, expected, bound, chunks, basis, work)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
      put_cell_texts_(database, "INSERT INTO cell_texts (cell, settings, content) VALUES (?, ?, ?)"),
      set_cell_(database, "UPDATE cells SET state = ?, need = ?, generation = ? WHERE id = ?"),
      put_wanted_(database, "INSERT INTO wanted (sweep, place, cell, score, generation) VALUES (?, ?, ?, ?, ?)"),
      put_result_(
          database,
          "INSERT INTO results (cell, generation, chunk, job, gpu_seconds, seconds, at, metrics, figures, ticket)"
          " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
      put_failure_(
          database,
          "INSERT INTO failures (cell, generation, job, cause, remedy, factor, crash, counts, nodes, at, reason)"
          " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
      forget_failures_(database, "DELETE FROM failures WHERE cell = ?"),
      put_job_(
          database,
          "INSERT INTO jobs (id, name, need, sweep, nodes, gpus, cpus, memory, environment, profile, script_values,"
          " time_limit, excluded_nodes, state, cluster_id, cluster_says, epoch, restarts, copy, runs_on, taken,"
          " passed_over, delivered, gpu_seconds, submitted, started, ended, ended_as, reason, cancel_asked)"
          " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
          " ON CONFLICT (id) DO UPDATE SET name = excluded.name, need = excluded.need, sweep = excluded.sweep,"
          " nodes = excluded.nodes, gpus = excluded.gpus, cpus = excluded.cpus, memory = excluded.memory,"
          " environment = excluded.environment, profile = excluded.profile,"
          " script_values = excluded.script_values, time_limit = excluded.time_limit,"
          " excluded_nodes = excluded.excluded_nodes, state = excluded.state, cluster_id = excluded.cluster_id,"
          " cluster_says = excluded.cluster_says, epoch = excluded.epoch, restarts = excluded.restarts,"
          " copy = excluded.copy, runs_on = excluded.runs_on, taken = excluded.taken,"
          " passed_over = excluded.passed_over, delivered = excluded.delivered,"
          " gpu_seconds = excluded.gpu_seconds, submitted = excluded.submitted, started = excluded.started,"
          " ended = excluded.ended, ended_as = excluded.ended_as, reason = excluded.reason,"
          " cancel_asked = excluded.cancel_asked"),
      put_lease_(database, "INSERT INTO leases (cell, chunk, job, epoch, ticket) VALUES (?, ?, ?, ?, ?)"),
      drop_lease_(database, "DELETE FROM leases WHERE cell = ? AND chunk = ?"),
      put_begun_(database, "INSERT INTO begun (cell, chunk, job, ticket) VALUES (?, ?, ?, ?)"),
      drop_begun_(database, "DELETE FROM begun WHERE cell = ? AND chunk = ?"),
      put_notice_(database,
                  "INSERT INTO notices (id, kind, sweep, at, taken, text) VALUES (?, ?, ?, ?, ?, ?)"
                  " ON CONFLICT (id) DO UPDATE SET taken = excluded.taken"),
      drop_notice_(database, "DELETE FROM notices WHERE id = ?"),
      put_note_(database, "INSERT INTO events (at, kind, sweep, cell, job, text) VALUES (?, ?, ?, ?, ?, ?)") {}

void RowWriter::put(const Change& change) {
  std::visit([this](const auto& row) { put(row); }, change);
}

void RowWriter::forget() {
  names_.forget();
  settings_.forget();
}

void RowWriter::expect_one(std::int64_t changed, const char* what, std::int64_t number) const {
  if (changed != 1)
    throw Failure(database_.file().string() + ": there is no " + what + " " + std::to_string(number) + " to change");
}

void RowWriter::put(const row::PutFact& row) {
  if (row.value.empty())
    drop_fact_.run(row.name);
  else
    put_fact_.run(row.name, row.value);
}

void RowWriter::put(const row::PutNeed& row) {
  const Need& it = row.need;
  put_need_.run(it.id, it.resources.nodes, it.resources.gpus, it.resources.cpus, it.resources.memory, it.environment,
                it.profile, it.loads, it.load, it.most, it.batch, list_of(it.rooms), it.nodes_there, it.whole_nodes,
                it.script_values, it.strikes, it.stopped, it.trains);
}

void RowWriter::put(const row::PutSweep& row) {
  put_sweep_.run(row.id, row.name, row.user, row.request_key, row.rejected_cells, row.submitted);
  put_sweep_texts_.run(row.id, row.matrix, row.rejected);
}

void RowWriter::put(const row::SetSweepState& row) {
  expect_one(set_sweep_.run(number_of(row.state), row.ended, row.id), "sweep", static_cast<std::int64_t>(row.id));
}

void RowWriter::put(const row::PutCell& row) {
  const auto depends = row.depends == kNoCell ? std::nullopt : std::optional(row.depends);
  put_cell_.run(row.id, row.key, row.need, depends, names_.number(row.model), names_.number(row.task),
                double{row.expected}, double{row.bound}, row.chunks, number_of(row.basis), row.work);
  put_cell_texts_.run(row.id, settings_.number(row.settings), row.content);
}

void RowWriter::put(const row::SetCellState& row) {
  expect_one(set_cell_.run(number_of(row.state), row.need, row.generation, row.id), "cell",
             static_cast<std::int64_t>(row.id));
}

void RowWriter::put(const row::PutWanted& row) {
  put_wanted_.run(row.sweep, row.order, row.wanted.cell, double{row.wanted.score}, row.wanted.generation);
}

void RowWriter::put(const row::PutResult& row) {
  put_result_.run(row.chunk.cell, row.generation, row.chunk.number, row.job, row.gpu_seconds, row.seconds, row.at,
                  row.metrics, row.figures, row.ticket);
}

void RowWriter::put(const row::PutFailure& row) {
  const auto job = row.job == JobId{} ? std::nullopt : std::optional(row.job);
  put_failure_.run(row.cell, row.generation, job, number_of(row.cause), number_of(row.remedy), row.factor, row.crash,
                   row.counts, list_of(row.nodes), row.at, row.reason);
}

void RowWriter::put(const row::ForgetFailures& row) { forget_failures_.run(row.cell); }

void RowWriter::put(const row::PutJob& row) {
  const Job& it = row.job;
  const auto end = it.end ? std::optional(number_of(*it.end)) : std::nullopt;
  put_job_.run(it.id, it.name, it.need, it.sweep, it.resources.nodes, it.resources.gpus, it.resources.cpus,
               it.resources.memory, it.environment, it.profile, it.script_values, it.time_limit,
               list_of(it.excluded_nodes), number_of(it.state), it.cluster_id, it.cluster_says, it.epoch, it.restarts,
               it.copy, list_of(it.nodes), it.taken, it.passed_over, it.delivered, it.gpu_seconds, it.submitted,
               it.started, it.ended, end, it.reason, it.cancel_asked);
}

void RowWriter::put(const row::PutLease& row) {
  put_lease_.run(row.chunk.cell, row.chunk.number, row.job, row.epoch, row.ticket);
}

void RowWriter::put(const row::DropLease& row) { drop_lease_.run(row.chunk.cell, row.chunk.number); }

void RowWriter::put(const row::PutBegun& row) { put_begun_.run(row.chunk.cell, row.chunk.number, row.job, row.ticket); }

void RowWriter::put(const row::DropBegun& row) { drop_begun_.run(row.chunk.cell, row.chunk.number); }

void RowWriter::put(const row::PutNotice& row) {
  const Notice& it = row.notice;
  put_notice_.run(it.id, number_of(it.kind), it.sweep, it.at, it.taken, it.text);
}

void RowWriter::put(const row::DropNotice& row) { drop_notice_.run(row.id); }

void RowWriter::put(const row::Note& row) {
  put_note_.run(row.at, names_.number(row.kind), unless_none(row.sweep), unless_none(row.cell), unless_none(row.job),
                row.text);
}

}  // namespace orch::store
