#include "sim/invariants.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "control/estimate.h"
#include "control/step.h"

namespace orch::sim {

using namespace control;

namespace {

std::string of_cell(std::size_t i) { return "cell " + std::to_string(i); }

std::string leases_broken(const State& state) {
  std::size_t seen = 0;
  for (const auto& [id, job] : state.jobs)
    for (const Chunk& chunk : state.leases.of(id)) {
      ++seen;
      const Lease* lease = state.leases.find(chunk);
      const std::string what = "the lease of " + of_cell(index(chunk.cell)) + " to " + job.name;
      if (!lease || lease->job != id) return what + " is not in one piece";
      if (!fits(state.needs[index(state.cells[index(chunk.cell)].need)], job)) return what + " does not fit it";
      if (lease->epoch != job.epoch) return what + " is of an older epoch";
      if (job.state == JobState::kEnded) return what + " outlives its job";
      if (index(chunk.cell) >= state.cells.size()) return what + " is of no cell";
      const Cell& cell = state.cells[index(chunk.cell)];
      if (cell.state != CellState::kRunning) return what + " is of a cell that is " + std::string(name_of(cell.state));
      if (cell.chunks > 1 && state.chunks.at(chunk.cell)[chunk.number] != ChunkState::kLeased)
        return what + " is of a chunk that is not leased";
    }
  if (seen != state.leases.size()) return "a lease belongs to no job";
  return "";
}

std::string cells_broken(const State& state) {
  std::vector<Backlog> backlog(state.needs.size());
  for (std::size_t i = 0; i < state.cells.size(); ++i) {
    const Cell& cell = state.cells[i];
    const CellId id{static_cast<std::uint32_t>(i)};
    if (state.by_key.find(cell.key, state.cells) != id) return of_cell(i) + " is not found by its key";
    const bool can_start = cell.depends == kNoCell || state.cells[index(cell.depends)].state == CellState::kDone;
    if (cell.state == CellState::kWaiting && !can_start) return of_cell(i) + " waits, and what it needs is not there";
    if (cell.state == CellState::kBlocked && can_start) return of_cell(i) + " is blocked by nothing";
    if (cell.state == CellState::kBlocked && is_final(state.cells[index(cell.depends)].state))
      return of_cell(i) + " waits for a cell that will not be done";
    if (cell.state == CellState::kRunning) {
      bool leased = false;
      for (std::uint32_t number = 0; number < cell.chunks; ++number) leased = leased || state.leases.find({id, number});
      if (!leased) return of_cell(i) + " runs nowhere";
    }
    if (cell.state == CellState::kDone && state.chunks.contains(id))
      return of_cell(i) + " is done, and keeps its chunks";
    backlog[index(cell.need)].waiting += cell.state == CellState::kWaiting;
    backlog[index(cell.need)].running += cell.state == CellState::kRunning;
  }
  for (std::size_t i = 0; i < backlog.size(); ++i)
    if (backlog[i].waiting != state.backlog[i].waiting || backlog[i].running != state.backlog[i].running)
      return "the backlog of need " + std::to_string(i) + " is miscounted";
  return "";
}

std::string estimates_broken(const State& state) {
  for (std::size_t i = 0; i < state.cells.size(); ++i) {
    const Cell& cell = state.cells[i];
    const CellId id{static_cast<std::uint32_t>(i)};
    const Estimate takes = estimate(state, id);
    const auto asked = static_cast<double>(cell.bound);
    if (!(takes.expected > 0) || !(takes.expected <= takes.bound)) return of_cell(i) + " is expected to take nonsense";
    const double most = state.needs[index(cell.need)].most;
    if (takes.bound > asked && takes.bound > most) return of_cell(i) + " may take longer than any job";
    const auto trouble = state.troubles.find(id);
    const bool timed_out = trouble != state.troubles.end() && trouble->second.more_time > 1;
    if (timed_out && takes.bound < asked) return of_cell(i) + " was given more time, and has less";
    if (!timed_out && is_declared(cell.basis) && takes.bound != asked) return of_cell(i) + " is not bound as declared";
  }
  return "";
}

std::string sweeps_broken(const State& state) {
  for (const Sweep& sweep : state.sweeps) {
    std::array<std::uint32_t, kCellStates.size()> counts{};
    double work_left = 0;
    for (const Wanted& wanted : sweep.cells) {
      const Cell& cell = state.cells[index(wanted.cell)];
      if (wanted.generation > cell.generation) return sweep.name + " wants a generation that is not there";
      const CellState seen = wanted.generation == cell.generation ? cell.state : CellState::kDone;
      ++counts[static_cast<std::size_t>(seen)];
      if (!is_final(seen)) work_left += static_cast<double>(cell.expected);
    }
    if (counts != sweep.counts) return "the cells of " + sweep.name + " are miscounted";
    if (std::abs(work_left - sweep.work_left) > 1e-6 * (1 + work_left))
      return "the work left of " + sweep.name + " is wrong";
    const std::size_t over = counts[static_cast<std::size_t>(CellState::kDone)] +
                             counts[static_cast<std::size_t>(CellState::kFailed)] +
                             counts[static_cast<std::size_t>(CellState::kCancelled)];
    if (is_live(sweep.state) && over == sweep.cells.size()) return sweep.name + " has ended, and does not know it";
  }
  return "";
}

std::string jobs_broken(const State& state) {
  int queued = 0, alive = 0, gpus = 0;
  for (const auto& [id, job] : state.jobs) {
    const auto named = state.by_name.find(job.name);
    if (named == state.by_name.end() || named->second != id) return job.name + " is not found by its name";
    if (job.state == JobState::kEnded && !job.end) return job.name + " ended without a reason";
    if (job.is_over()) continue;
    ++alive;
    gpus += static_cast<int>(job.resources.gpus);
    // A job that was requeued stands in the queue again without our doing.
    if (job.epoch == Epoch{} && job.state != JobState::kMissing) ++queued;
  }
  const policy::Limits& user = state.policy.per_user;
  if (user.max_jobs && alive > *user.max_jobs) return "more jobs at once than the user may have";
  if (user.max_gpus && gpus > *user.max_gpus) return "more GPUs at once than the user may have";
  if (user.max_queued && queued > *user.max_queued) return "more jobs in the queue than the user may have";
  return "";
}

/// The sums of what has ended, against a walk.
std::string ledger_broken(const State& state) {
  std::set<JobId> open;
  std::map<SweepId, double> ended;
  for (const auto& [id, job] : state.jobs)
    if (job.state == JobState::kEnded)
      ended[job.sweep] += had(job, Utc::min(), job.ended);
    else
      open.insert(id);
  if (open != state.open_jobs) return "which jobs have not ended is not known";
  for (const Sweep& sweep : state.sweeps)
    if (state.ledger.sweep(sweep.id) != ended[sweep.id]) return "what the jobs of " + sweep.name + " took is wrong";
  return "";
}

}  // namespace

std::string broken_in(const State& state) {
  for (const auto check : {leases_broken, cells_broken, sweeps_broken, jobs_broken})
    if (std::string what = check(state); !what.empty()) return what;
  return "";
}

std::string broken_between(const State& state, const Tables& tables) {
  if (!tables.broken.empty()) return tables.broken;
  for (std::size_t i = 0; i < state.cells.size(); ++i) {
    const Cell& cell = state.cells[i];
    if (cell.state != CellState::kDone) continue;
    for (std::uint32_t number = 0; number < cell.chunks; ++number)
      if (!tables.results.contains({CellId{static_cast<std::uint32_t>(i)}, cell.generation, number}))
        return of_cell(i) + " is done, and a result of it is not there";
  }
  // Functions of the state alone that walk much of it: looked at now and then.
  for (const auto check : {estimates_broken, ledger_broken})
    if (std::string what = check(state); !what.empty()) return what;
  return broken_in(state);
}

std::string difference(const State& wrote, const State& restored) {
  if (wrote.cells.size() != restored.cells.size()) return "the number of cells";
  for (std::size_t i = 0; i < wrote.cells.size(); ++i) {
    const Cell &a = wrote.cells[i], &b = restored.cells[i];
    if (a.key != b.key || a.need != b.need || a.depends != b.depends || a.generation != b.generation ||
        a.chunks != b.chunks)
      return of_cell(i);
    if (a.state != b.state)
      return of_cell(i) + " was " + std::string(name_of(a.state)) + " and is " + std::string(name_of(b.state));
  }
  if (wrote.chunks != restored.chunks) return "what is known of chunks";
  if (wrote.sweeps.size() != restored.sweeps.size()) return "the number of sweeps";
  for (std::size_t i = 0; i < wrote.sweeps.size(); ++i) {
    const Sweep &a = wrote.sweeps[i], &b = restored.sweeps[i];
    if (a.state != b.state || a.counts != b.counts || a.cells.size() != b.cells.size() || a.ended != b.ended)
      return "sweep " + a.name;
  }
  if (wrote.durations != restored.durations) return "how long cells took";
  if (wrote.warned != restored.warned) return "of which budgets people were warned";
  if (wrote.notices.size() != restored.notices.size()) return "the number of notices";
  for (const auto& [id, notice] : wrote.notices)
    if (restored.notices.at(id).text != notice.text || restored.notices.at(id).taken != notice.taken)
      return "the notice that " + notice.text;
  if (wrote.jobs.size() != restored.jobs.size()) return "the number of jobs";
  for (const auto& [id, a] : wrote.jobs) {
    const Job& b = restored.jobs.at(id);
    if (a.state != b.state || a.epoch != b.epoch || a.cluster_id != b.cluster_id || a.end != b.end ||
        a.restarts != b.restarts || a.cancel_asked != b.cancel_asked)
      return "job " + a.name + ": it was " + std::string(name_of(a.state)) + " and is " + std::string(name_of(b.state));
  }
  if (wrote.leases.size() != restored.leases.size()) return "the number of leases";
  for (const auto& [id, job] : wrote.jobs)
    if (wrote.leases.of(id) != restored.leases.of(id)) return "the leases of " + job.name;
  if (wrote.begun != restored.begun) return "what attempts are gone on with";
  if (wrote.needs.size() != restored.needs.size()) return "the number of needs";
  for (std::size_t i = 0; i < wrote.needs.size(); ++i)
    if (wrote.needs[i].strikes != restored.needs[i].strikes || wrote.needs[i].stopped != restored.needs[i].stopped)
      return "need " + std::to_string(i);
  for (const auto& [id, a] : wrote.troubles) {
    const auto at = restored.troubles.find(id);
    const bool same = at != restored.troubles.end() && a.tried == at->second.tried && a.crashes == at->second.crashes &&
                      a.more_time == at->second.more_time && a.excluded_nodes == at->second.excluded_nodes;
    // What failed only because another cell did is not written.
    if (!same && !a.tried.empty()) return "the troubles of " + of_cell(index(id));
  }
  if (wrote.held_models != restored.held_models) return "the held models";
  if (wrote.next_job != restored.next_job) return "the next job's number";
  return "";
}

}  // namespace orch::sim
