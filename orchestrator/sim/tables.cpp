#include "sim/tables.h"

#include <algorithm>

namespace orch::sim {

using namespace control;

namespace {

struct Put {
  Tables& tables;

  void operator()(const row::PutFact& it) const {
    if (it.value.empty())
      tables.facts.erase(it.name);
    else
      tables.facts[it.name] = it.value;
  }
  void operator()(const row::PutNeed& it) const { tables.needs[it.need.id] = it; }
  void operator()(const row::PutSweep& it) const { tables.sweeps.push_back(it); }
  void operator()(const row::SetSweepState& it) const { tables.sweep_states[it.id] = it; }
  void operator()(const row::PutCell& it) const {
    if (index(it.id) != tables.cells.size()) tables.broken = "a cell's id is not the next one";
    tables.cells.push_back(it);
  }
  void operator()(const row::SetCellState& it) const { tables.cell_states[it.id] = it; }
  void operator()(const row::PutWanted& it) const { tables.wanted.push_back(it); }
  void operator()(const row::PutResult& it) const {
    if (!tables.results.try_emplace({it.chunk.cell, it.generation, it.chunk.number}, it).second)
      tables.broken = "two results for one (cell, generation, chunk)";
    tables.seconds.emplace_back(it.chunk.cell, it.seconds);
  }
  void operator()(const row::PutFailure& it) const { tables.failures.push_back(it); }
  void operator()(const row::ForgetFailures& it) const {
    std::erase_if(tables.failures, [&](const row::PutFailure& failure) { return failure.cell == it.cell; });
  }
  void operator()(const row::PutJob& it) const { tables.jobs[it.job.id] = it; }
  void operator()(const row::PutLease& it) const {
    if (!tables.leases.try_emplace(it.chunk, it).second) tables.broken = "a chunk in two leases";
  }
  void operator()(const row::DropLease& it) const { tables.leases.erase(it.chunk); }
  void operator()(const row::PutBegun& it) const { tables.begun.push_back(it); }
  void operator()(const row::DropBegun& it) const {
    std::erase_if(tables.begun, [&](const row::PutBegun& begun) { return begun.chunk == it.chunk; });
  }
  void operator()(const row::PutNotice& it) const { tables.notices[it.notice.id] = it.notice; }
  void operator()(const row::DropNotice& it) const { tables.notices.erase(it.id); }
  void operator()(const row::Note&) const { ++tables.notes; }
};

}  // namespace

void Tables::put(const Change& change) { std::visit(Put{*this}, change); }

State Tables::restore(const policy::Policy& policy, const std::string& instance, const Rules& rules) const {
  Restore restore(policy, instance, rules);
  for (const auto& [name, value] : facts) restore.take(row::PutFact{name, value});
  for (const auto& [id, need] : needs) restore.take(row::PutNeed(need));
  for (const row::PutSweep& sweep : sweeps) restore.take(row::PutSweep(sweep));
  for (const auto& [id, state] : sweep_states) restore.take(state);
  for (const row::PutCell& cell : cells) restore.take(row::PutCell(cell));
  for (const auto& [id, state] : cell_states) restore.take(state);
  for (const row::PutWanted& want : wanted) restore.take(want);
  for (const auto& [key, result] : results) restore.take(result);
  for (const auto& [cell, took] : seconds) restore.measured(cell, took);
  for (const row::PutFailure& failure : failures) restore.take(row::PutFailure(failure));
  for (const auto& [id, job] : jobs) restore.take(row::PutJob(job));
  for (const auto& [chunk, lease] : leases) restore.take(lease);
  for (const row::PutBegun& attempt : begun) restore.take(attempt);
  for (const auto& [id, notice] : notices) restore.take(row::PutNotice{notice});
  return restore.finish();
}

}  // namespace orch::sim
