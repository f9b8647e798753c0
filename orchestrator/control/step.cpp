#include "control/step.h"

#include <algorithm>
#include <cassert>
#include <tuple>

namespace orch::control {
namespace {

std::int64_t number(auto id) { return static_cast<std::int64_t>(index(id)); }

}  // namespace

void Step::note_sweep(std::string kind, SweepId sweep, std::string text) {
  put(row::Note{now.utc, std::move(kind), number(sweep), -1, -1, std::move(text)});
}
void Step::note_cell(std::string kind, CellId cell, std::string text) {
  put(row::Note{now.utc, std::move(kind), -1, number(cell), -1, std::move(text)});
}
void Step::note_job(std::string kind, JobId job, std::string text) {
  put(row::Note{now.utc, std::move(kind), -1, -1, number(job), std::move(text)});
}

void Step::write_state(const Cell& cell, CellId id) {
  const CellState written =
      cell.state == CellState::kRunning || cell.state == CellState::kBlocked ? CellState::kWaiting : cell.state;
  put(row::SetCellState{id, written, cell.need, cell.generation});
}

std::pair<CellState, std::string> Step::open_state(const Cell& it) const {
  if (it.depends != kNoCell) {
    const CellState maker = state.cells[index(it.depends)].state;
    if (maker == CellState::kFailed) return {maker, "the cell whose adapter it needs failed"};
    if (maker == CellState::kCancelled) return {maker, "the cell whose adapter it needs was cancelled"};
    if (maker != CellState::kDone) return {CellState::kBlocked, ""};
  }
  const std::string& stopped = state.needs[index(it.need)].stopped;
  return {stopped.empty() ? CellState::kWaiting : CellState::kFailed, stopped};
}

void Step::set(CellId id, CellState to) {
  Cell& it = cell(id);
  const CellState from = it.state;
  std::string reason;
  if (to == CellState::kWaiting) std::tie(to, reason) = open_state(it);
  if (from == to) return;
  assert(may_become(from, to));
  it.state = to;
  if (!reason.empty()) {
    state.troubles[id].reason = reason;
    put(row::PutFailure{id,
                        it.generation,
                        JobId{0},
                        policy::Cause::kUnknown,
                        policy::Remedy::kGiveUp,
                        1,
                        false,
                        false,
                        {},
                        std::move(reason),
                        now.utc});
  }

  Backlog& backlog = state.backlog[index(it.need)];
  backlog.waiting += static_cast<std::uint32_t>(to == CellState::kWaiting);
  backlog.waiting -= static_cast<std::uint32_t>(from == CellState::kWaiting);
  backlog.running += static_cast<std::uint32_t>(to == CellState::kRunning);
  backlog.running -= static_cast<std::uint32_t>(from == CellState::kRunning);

  state.each_want(id, [&](const Want& want) {
    Sweep& of = sweep(want.sweep);
    if (of.cells[want.order].generation != it.generation) return;
    --of.counts[static_cast<std::size_t>(from)];
    ++of.counts[static_cast<std::size_t>(to)];
    of.work_left += static_cast<double>(it.expected) * (is_final(from) - is_final(to));
    touched_.insert(want.sweep);
  });

  // A sweep that had given it up hopes again.
  if (is_final(from) && !is_final(to))
    state.each_want(id, [&](const Want& want) {
      const Sweep& of = sweep(want.sweep);
      if (of.state == SweepState::kFailed && of.cells[want.order].generation == it.generation)
        set(want.sweep, SweepState::kRunning);
    });

  // Between waiting and running nothing is written: the row of the lease says it.
  if (is_final(from) || is_final(to)) write_state(it, id);
  if (to == CellState::kWaiting) enqueue(id);
  if (is_final(to)) {
    // Others may still work on chunks of it: they hear of it at their next heartbeat.
    for (std::uint32_t part = 0; part < it.chunks; ++part) leave({id, part});
    if (to == CellState::kDone) {
      forget_begun(id);
      state.chunks.erase(id);
    }
  }
  if (is_final(to) || from == CellState::kDone) settle_dependents(id);
  // What it needs may have been made afresh before it: now its sweeps care for that too.
  if (from == CellState::kDone)
    for (CellId up = it.depends; up != kNoCell; up = cell(up).depends)
      if (may_be_leased(up)) enqueue(up);
}

void Step::set_need(CellId id, NeedId need) {
  Cell& it = cell(id);
  if (it.need == need) return;
  const auto waiting = static_cast<std::uint32_t>(it.state == CellState::kWaiting);
  const auto running = static_cast<std::uint32_t>(it.state == CellState::kRunning);
  state.backlog[index(it.need)].waiting -= waiting;
  state.backlog[index(it.need)].running -= running;
  it.need = need;
  state.backlog[index(need)].waiting += waiting;
  state.backlog[index(need)].running += running;
  write_state(it, id);
  if (it.state == CellState::kWaiting) enqueue(id);
}

void Step::settle_dependents(CellId id) {
  const auto found = state.dependents.find(id);
  if (found == state.dependents.end()) return;
  for (const CellId dependent : found->second) {
    // What was begun on what the cell has made is not gone on with when it makes that afresh.
    if (!is_final(cell(id).state)) forget_begun(dependent);
    const CellState was = cell(dependent).state;
    if (was != CellState::kBlocked && was != CellState::kWaiting) continue;
    set(dependent, CellState::kWaiting);
    if (was == CellState::kBlocked && cell(dependent).state == CellState::kWaiting) plan_anew();
  }
}

void Step::set(Job& job, JobState to) {
  if (job.state != to) {
    assert(may_become(job.state, to));
    job.state = to;
    if (to == JobState::kEnded) {
      state.open_jobs.erase(job.id);
      state.ledger.close(job, sweep(job.sweep).user);
    }
  }
  put(row::PutJob{job});
}

void Step::set(SweepId id, SweepState to) {
  Sweep& it = sweep(id);
  if (it.state == to) return;
  assert(may_become(it.state, to));
  const bool was_live = is_live(it.state);
  it.state = to;
  it.ended = is_live(to) ? Utc{} : now.utc;
  put(row::SetSweepState{id, to, it.ended});
  if (!is_live(to)) state.queue.forget(id);
  if (!was_live && is_live(to))
    for (const Wanted& wanted : it.cells)
      if (may_be_leased(wanted.cell)) enqueue(wanted.cell);
}

void Step::enqueue(CellId id) {
  const Cell& it = cell(id);
  state.each_want(id, [&](const Want& want) {
    const Sweep& of = sweep(want.sweep);
    const Wanted& wanted = of.cells[want.order];
    if (is_live(of.state) && state.cares(want, id))
      state.queue.push(it.need, want.sweep, {wanted.score, want.order, id});
  });
}

bool Step::has_waiting_chunk(CellId id) const {
  const Cell& it = state.cells[index(id)];
  if (it.chunks == 1) return it.state == CellState::kWaiting;
  if (it.state != CellState::kWaiting && it.state != CellState::kRunning) return false;
  const auto parts = state.chunks.find(id);
  return parts == state.chunks.end() ||
         std::find(parts->second.begin(), parts->second.end(), ChunkState::kWaiting) != parts->second.end();
}

bool Step::may_be_leased(CellId id) const {
  return has_waiting_chunk(id) && !state.held_models.contains(state.names[state.cells[index(id)].model]);
}

bool Step::is_wanted(NeedId need) const {
  if (!state.needs[index(need)].stopped.empty()) return false;
  for (const Queue::Head& head : state.queue.heads_of(need))
    if (state.sweeps[index(head.second)].state == SweepState::kRunning &&
        state.queue.best(head, [this](NeedId of, CellId cell) { return may_be_leased(of, cell); }))
      return true;
  return false;
}

Chunk Step::next_waiting_chunk(CellId id) const {
  const auto parts = state.chunks.find(id);
  if (parts == state.chunks.end()) return {id, 0};
  const auto first = std::find(parts->second.begin(), parts->second.end(), ChunkState::kWaiting);
  return {id, static_cast<std::uint32_t>(first - parts->second.begin())};
}

bool Step::is_delivered(Chunk chunk) const {
  const Cell& it = state.cells[index(chunk.cell)];
  if (it.state == CellState::kDone) return true;
  const auto parts = state.chunks.find(chunk.cell);
  return parts != state.chunks.end() && parts->second[chunk.number] == ChunkState::kDone;
}

void Step::set_chunk(Chunk chunk, ChunkState to) {
  const Cell& it = cell(chunk.cell);
  if (it.chunks == 1) return;
  std::vector<ChunkState>& parts = state.chunks.try_emplace(chunk.cell, it.chunks, ChunkState::kWaiting).first->second;
  parts[chunk.number] = to;
  if (std::count(parts.begin(), parts.end(), ChunkState::kWaiting) == it.chunks) state.chunks.erase(chunk.cell);
}

bool Step::has_chunk(CellId id, ChunkState what) const {
  const auto parts = state.chunks.find(id);
  return parts != state.chunks.end() &&
         std::find(parts->second.begin(), parts->second.end(), what) != parts->second.end();
}

void Step::lease(Chunk chunk, const Job& job) {
  const Ticket ticket{std::uint64_t{state.starts} << 32 | state.next_ticket++};
  const bool granted = state.leases.grant(chunk, job.id, job.epoch, ticket, now.serving);
  assert(granted);
  static_cast<void>(granted);
  put(row::PutLease{chunk, job.id, job.epoch, ticket});
  set_chunk(chunk, ChunkState::kLeased);
  set(chunk.cell, CellState::kRunning);
}

void Step::drop_lease(Chunk chunk) {
  if (!state.leases.find(chunk)) return;
  state.leases.release(chunk);
  put(row::DropLease{chunk});
  set_chunk(chunk, ChunkState::kWaiting);
}

void Step::leave(Chunk chunk) {
  const Lease* lease = state.leases.find(chunk);
  if (!lease) return;
  // What a program leaves nobody reads; samples of the native engine are gone on with.
  if (!need(cell(chunk.cell).need).loads.empty()) {
    state.begun[chunk].emplace_back(lease->job, lease->ticket);
    put(row::PutBegun{chunk, lease->job, lease->ticket});
  }
  if (need(cell(chunk.cell).need).trains && lease->all > 0) {
    double& done = state.progress[chunk.cell];
    done = std::max(done, std::clamp(static_cast<double>(lease->done) / static_cast<double>(lease->all), 0.0, 1.0));
  }
  drop_lease(chunk);
}

void Step::give_back(Chunk chunk) {
  if (!state.leases.find(chunk)) return;
  leave(chunk);
  if (cell(chunk.cell).state != CellState::kRunning) return;
  if (has_chunk(chunk.cell, ChunkState::kLeased)) return enqueue(chunk.cell);
  set(chunk.cell, CellState::kWaiting);
}

void Step::forget_begun(Chunk chunk) {
  if (state.begun.erase(chunk) > 0) put(row::DropBegun{chunk});
}

void Step::forget_begun(CellId id) {
  for (auto at = state.begun.lower_bound({id, 0}); at != state.begun.end() && at->first.cell == id;)
    forget_begun((at++)->first);
  state.progress.erase(id);
}

void Step::deliver(Chunk chunk) {
  forget_begun(chunk);
  drop_lease(chunk);
  set_chunk(chunk, ChunkState::kDone);
  const Cell& it = cell(chunk.cell);
  const auto parts = state.chunks.find(chunk.cell);
  const bool whole =
      it.chunks == 1 || std::count(parts->second.begin(), parts->second.end(), ChunkState::kDone) == it.chunks;
  if (whole)
    set(chunk.cell, CellState::kDone);
  else if (it.state == CellState::kRunning && !has_chunk(chunk.cell, ChunkState::kLeased))
    set(chunk.cell, CellState::kWaiting);
}

Effects Step::finish() {
  for (const SweepId id : touched_) {
    Sweep& it = sweep(id);
    if (!is_live(it.state)) continue;
    const std::size_t over =
        it.count(CellState::kDone) + it.count(CellState::kFailed) + it.count(CellState::kCancelled);
    if (over < it.cells.size()) continue;
    const bool well = it.count(CellState::kDone) == it.cells.size();
    set(id, well ? SweepState::kDone : SweepState::kFailed);
    const std::string text = it.name + ": " + std::to_string(it.count(CellState::kDone)) + " of " +
                             std::to_string(it.cells.size()) + " cells are done" +
                             (well ? "" : ", " + std::to_string(it.count(CellState::kFailed)) + " failed");
    note_sweep("sweep.ended", id, text);
    notify(NoticeKind::kSweepEnded, id, text);
  }
  touched_.clear();
  return std::move(effects_);
}

}  // namespace orch::control
