#include "control/restore.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "control/estimate.h"
#include "control/same_work.h"
#include "control/step.h"

namespace orch::control {
namespace {

/// `FAILURES UNTIL`, as judge_nodes() writes it; UNTIL is `-` or milliseconds of the epoch.
Node node_of(const std::string& value) {
  Node node;
  const char* const end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, node.failures);
  std::int64_t until = 0;
  if (error == std::errc() && rest < end && std::from_chars(rest + 1, end, until).ec == std::errc())
    node.excluded_until = Utc(std::chrono::milliseconds(until));
  return node;
}

}  // namespace

Restore::Restore(policy::Policy policy, std::string instance, Rules rules)
    : state_(std::move(policy), std::move(instance), rules) {}

void Restore::take(const row::PutFact& row) {
  constexpr std::string_view kHeld = "held:", kNode = "node:", kWarned = "warned:";
  if (row.name == "starts") std::from_chars(row.value.data(), row.value.data() + row.value.size(), state_.starts);
  if (row.value.empty()) return;
  if (row.name.starts_with(kHeld)) state_.held_models.insert(row.name.substr(kHeld.size()));
  if (row.name.starts_with(kWarned)) state_.warned.insert(row.name);
  if (row.name.starts_with(kNode)) state_.nodes[row.name.substr(kNode.size())] = node_of(row.value);
}

void Restore::take(row::PutNeed&& row) {
  row.need.like = first_like(state_.needs, row.need);
  state_.needs.push_back(std::move(row.need));
  state_.backlog.emplace_back();
}

void Restore::take(row::PutSweep&& row) {
  Sweep sweep;
  sweep.id = row.id;
  sweep.name = std::move(row.name);
  sweep.user = std::move(row.user);
  sweep.request_key = std::move(row.request_key);
  sweep.rejected_cells = row.rejected_cells;
  sweep.submitted = row.submitted;
  if (!sweep.request_key.empty()) state_.by_request.emplace(sweep.request_key, sweep.id);
  state_.sweeps.push_back(std::move(sweep));
}

void Restore::take(const row::SetSweepState& row) {
  state_.sweeps[index(row.id)].state = row.state;
  state_.sweeps[index(row.id)].ended = row.ended;
}

void Restore::take(row::PutCell&& row) {
  Cell cell;
  cell.key = row.key;
  cell.need = row.need;
  cell.depends = row.depends;
  cell.model = state_.names.number(row.model);
  cell.task = state_.names.number(row.task);
  cell.expected = row.expected;
  cell.bound = row.bound;
  cell.basis = row.basis;
  cell.work = row.work == kNoWork ? work_of(row.key) : row.work;
  cell.chunks = row.chunks;
  if (row.depends != kNoCell) state_.dependents[row.depends].push_back(row.id);
  state_.cells.push_back(cell);
  state_.by_key.add(row.id, state_.cells);
}

void Restore::take(const row::SetCellState& row) {
  Cell& cell = state_.cells[index(row.id)];
  cell.state = row.state;
  cell.need = row.need;
  cell.generation = row.generation;
}

void Restore::take(const row::PutWanted& row) {
  state_.sweeps[index(row.sweep)].cells.push_back(row.wanted);
  // A cell is wanted first by the sweep that made it, which comes first.
  if (index(row.wanted.cell) == state_.first_want.size())
    state_.first_want.push_back({row.sweep, row.order});
  else
    state_.more_wants[row.wanted.cell].push_back({row.sweep, row.order});
}

void Restore::take(const row::PutResult& row) {
  const Cell& cell = state_.cells[index(row.chunk.cell)];
  if (cell.chunks == 1 || cell.state == CellState::kDone || row.generation != cell.generation) return;
  state_.chunks.try_emplace(row.chunk.cell, cell.chunks, ChunkState::kWaiting).first->second[row.chunk.number] =
      ChunkState::kDone;
}

void Restore::measured(CellId id, double seconds) {
  const Cell& cell = state_.cells[index(id)];
  learn(state_, cell, seconds);
}

void Restore::take(row::PutFailure&& row) {
  Trouble& trouble = state_.troubles[row.cell];
  trouble.reason = std::move(row.reason);
  trouble.crashes += row.crash;
  if (!row.counts) return;
  trouble.tried.emplace_back(row.cause, row.remedy);
  switch (row.remedy) {
    case policy::Remedy::kMoreTime:
      trouble.more_time *= row.factor;
      break;
    case policy::Remedy::kSmallerBatch:
      trouble.smaller_batch *= row.factor;
      break;
    case policy::Remedy::kOtherNode:
      for (std::string& node : row.nodes)
        if (std::find(trouble.excluded_nodes.begin(), trouble.excluded_nodes.end(), node) ==
            trouble.excluded_nodes.end())
          trouble.excluded_nodes.push_back(std::move(node));
      break;
    default:
      break;
  }
}

void Restore::take(row::PutJob&& row) {
  const JobId id = row.job.id;
  state_.next_job = std::max(state_.next_job, static_cast<std::uint32_t>(index(id)) + 1);
  state_.by_name.emplace(row.job.name, id);
  if (row.job.state == JobState::kEnded)
    state_.ledger.close(row.job, state_.sweeps[index(row.job.sweep)].user);
  else
    state_.open_jobs.insert(id);
  state_.jobs.emplace(id, std::move(row.job));
}

void Restore::take(const row::PutLease& row) {
  Cell& cell = state_.cells[index(row.chunk.cell)];
  state_.leases.grant(row.chunk, row.job, row.epoch, row.ticket, Serving{});
  cell.state = CellState::kRunning;
  if (cell.chunks > 1)
    state_.chunks.try_emplace(row.chunk.cell, cell.chunks, ChunkState::kWaiting).first->second[row.chunk.number] =
        ChunkState::kLeased;
}

void Restore::take(const row::PutBegun& row) { state_.begun[row.chunk].emplace_back(row.job, row.ticket); }

void Restore::take(row::PutNotice&& row) {
  const NoticeId id = row.notice.id;
  state_.notices.emplace(id, std::move(row.notice));
}

State Restore::finish() {
  for (Cell& cell : state_.cells)
    if (cell.state == CellState::kWaiting && cell.depends != kNoCell &&
        state_.cells[index(cell.depends)].state != CellState::kDone)
      cell.state = CellState::kBlocked;
  for (std::uint32_t i = 0; i < state_.cells.size(); ++i) {
    const Cell& cell = state_.cells[i];
    Backlog& backlog = state_.backlog[index(cell.need)];
    backlog.waiting += static_cast<std::uint32_t>(cell.state == CellState::kWaiting);
    backlog.running += static_cast<std::uint32_t>(cell.state == CellState::kRunning);
  }
  for (Sweep& sweep : state_.sweeps)
    for (const Wanted& wanted : sweep.cells) {
      const Cell& cell = state_.cells[index(wanted.cell)];
      // Of an older generation the result is there.
      const CellState seen = wanted.generation == cell.generation ? cell.state : CellState::kDone;
      ++sweep.counts[static_cast<std::size_t>(seen)];
      if (!is_final(seen)) sweep.work_left += static_cast<double>(cell.expected);
    }
  Step step(state_, Now{});
  for (std::uint32_t i = 0; i < state_.cells.size(); ++i)
    if (step.may_be_leased(CellId{i})) step.enqueue(CellId{i});
  return std::move(state_);
}

}  // namespace orch::control
