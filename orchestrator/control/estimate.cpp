#include "control/estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizing.h"

namespace orch::control {
namespace {

/// Seconds that a busy machine or a cold disk adds to a cell now and then: a short one is not stopped for that.
constexpr double kGrace = 60;

/// Cells of a sweep that are looked at for what is left of it, and open ones of which there must be so many among them
/// to speak for the rest.
constexpr std::size_t kLooks = 4096, kEnough = 16;

/// Seconds that a job for such cells can give to one at most, loading included; infinite where nothing limits it.
double most_of(const State& state, const Need& need) {
  if (need.most <= 0) return std::numeric_limits<double>::infinity();
  const double margin = std::max(state.policy.planning.time_margin, 1.0);
  return std::floor(need.most / 60) * 60 - need.load * margin - state.policy.drain_signal - state.rules.start;
}

/// Whether a cell that ran out of its time is tried again.
bool forgives(const policy::Policy& policy) {
  const auto ladder = policy.remedies.find(policy::Cause::kTimeout);
  return ladder != policy.remedies.end() &&
         std::any_of(ladder->second.begin(), ladder->second.end(), [](const policy::Rung& rung) {
           return rung.remedy == policy::Remedy::kRetry || rung.remedy == policy::Remedy::kMoreTime;
         });
}

bool ran_out_of_time(const Trouble& trouble) {
  return trouble.more_time > 1 || std::any_of(trouble.tried.begin(), trouble.tried.end(),
                                              [](const auto& tried) { return tried.first == policy::Cause::kTimeout; });
}

/// Of the whole cell; `trouble`: what it had, or nullptr.
Estimate made(const State& state, const Cell& cell, const Trouble* trouble) {
  Estimate it;
  it.expected = static_cast<double>(cell.expected);
  it.bound = static_cast<double>(cell.bound);
  const Need& need = state.needs[index(cell.need)];
  if (const auto median = state.durations.expected(cell.work)) {
    it.expected = *median;
    it.from = Estimate::From::kSameWork;
    it.runs = state.durations.runs(cell.work);
  } else if (const std::size_t runs = state.durations.runs(need.like); runs >= Durations::kLeastForNeed) {
    it.expected *= state.durations.ratio(need.like);
    it.from = Estimate::From::kLikeNeeds;
    it.runs = runs;
  }
  const policy::Planning& planning = state.policy.planning;
  const auto late = is_declared(cell.basis) ? std::nullopt : state.durations.late(cell.work, planning.time_quantile);
  const double asked = it.bound;
  if (late) {
    it.bound = std::max({*late * planning.time_margin, *late + kGrace * cell.chunks, it.expected});
    if ((trouble && ran_out_of_time(*trouble)) || !forgives(state.policy)) it.bound = std::max(it.bound, asked);
    it.learned_bound = true;
  }
  it.expected = std::min(it.expected, it.bound);
  if (trouble) {
    it.expected *= trouble->more_time;
    it.bound *= trouble->more_time;
  }
  if (it.bound > asked) it.bound = std::max(asked, std::min(it.bound, most_of(state, need) * cell.chunks));
  return it;
}

/// The same without what went wrong with the cell: a guess for many.
double expected_of(const State& state, const Cell& cell) { return made(state, cell, nullptr).expected; }

struct Looked {
  double asked = 0, expected = 0;
  std::size_t cells = 0;

  void add(const State& state, const Cell& cell) {
    asked += static_cast<double>(cell.expected);
    expected += expected_of(state, cell);
    ++cells;
  }
};

}  // namespace

Estimate estimate(const State& state, CellId id) {
  const Cell& cell = state.cells[index(id)];
  const auto trouble = state.troubles.empty() ? state.troubles.end() : state.troubles.find(id);
  Estimate it = made(state, cell, trouble == state.troubles.end() ? nullptr : &trouble->second);
  if (const auto done = state.progress.find(id); done != state.progress.end()) {
    it.expected *= 1 - done->second;
    it.bound = std::max(it.bound * (1 - done->second), std::min(it.bound, planner::kGetsSomewhere));
  }
  return it;
}

double least_time(const State& state, CellId id) {
  const Cell& cell = state.cells[index(id)];
  const double bound = estimate(state, id).bound / cell.chunks;
  return state.needs[index(cell.need)].trains ? std::min(bound, planner::kGetsSomewhere) : bound;
}

bool learn(State& state, const Cell& cell, double seconds) {
  return state.durations.add(cell.work, state.needs[index(cell.need)].like, seconds * cell.chunks,
                             static_cast<double>(cell.expected));
}

std::string basis_of(const State& state, CellId id, const Estimate& it) {
  const auto runs = static_cast<long long>(it.runs);
  if (it.from == Estimate::From::kSameWork) return "the median of " + counted(runs, "run") + " of the same work";
  std::string text;
  switch (state.cells[index(id)].basis) {
    case planner::Basis::kUnknown:
      text = "as it was asked for";
      break;
    case planner::Basis::kDeclared:
      text = "half of the time declared";
      break;
    case planner::Basis::kAssumed:
      text = "half of what the policy assumes where no time is declared";
      break;
    case planner::Basis::kRoofline:
      text = "the speed of its GPUs";
      break;
    case planner::Basis::kHistory:
    case planner::Basis::kHistoryAndLimit:
      text = "what the history file says";
      break;
  }
  if (it.from == Estimate::From::kLikeNeeds) {
    const double ratio = state.durations.ratio(state.needs[index(state.cells[index(id)].need)].like);
    text += ", times " + format_fixed(ratio, ratio < 0.1 ? 4 : 2) + " as for the last " + counted(runs, "cell") +
            " of such a kind";
  }
  return text;
}

namespace {

/// Seconds of work on cells that are not final which is done already: of chunks that are, and of samples that their
/// workers tell of.
double done_of(const State& state, const Sweep& sweep) {
  double seconds = 0;
  const auto add = [&](CellId id, double chunks) {
    const Cell& cell = state.cells[index(id)];
    bool wanted = false;
    state.each_want(id, [&](const Want& want) { wanted = wanted || want.sweep == sweep.id; });
    if (wanted && !is_final(cell.state)) seconds += static_cast<double>(cell.expected) * chunks / cell.chunks;
  };
  for (const auto& [id, parts] : state.chunks)
    add(id, static_cast<double>(std::count(parts.begin(), parts.end(), ChunkState::kDone)));
  for (const auto& [chunk, lease] : state.leases.all())
    if (lease.all > 0)
      add(chunk.cell, std::clamp(static_cast<double>(lease.done) / static_cast<double>(lease.all), 0.0, 1.0));
  return seconds;
}

double asked_left(const State& state, const Sweep& sweep) {
  return std::max(sweep.work_left - done_of(state, sweep), 0.0);
}

}  // namespace

double work_left(const State& state, const Sweep& sweep) {
  if (sweep.work_left <= 0) return 0;
  if (state.durations.measured() == 0) return asked_left(state, sweep);
  // Steps of the golden ratio meet every part of a matrix whatever its period.
  const std::size_t cells = sweep.cells.size();
  const double step = 0.6180339887498949;
  Looked open, all;
  double at = 0;
  for (std::size_t i = 0; i < std::min(cells, kLooks); ++i) {
    const Wanted& wanted = sweep.cells[cells <= kLooks ? i : static_cast<std::size_t>(at * static_cast<double>(cells))];
    at += step;
    at -= std::floor(at);
    const Cell& cell = state.cells[index(wanted.cell)];
    if (wanted.generation == cell.generation && !is_final(cell.state)) open.add(state, cell);
    all.add(state, cell);
  }
  // Of few that are left all speak, done or not.
  const Looked& who = cells <= kLooks || open.cells >= kEnough ? open : all;
  const double left = asked_left(state, sweep);
  return who.asked > 0 ? left * who.expected / who.asked : left;
}

}  // namespace orch::control
