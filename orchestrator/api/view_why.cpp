// One cell with its reasons: what it waits for, who works on it, how it ended.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "api/view_parts.h"
#include "api/views.h"
#include "base/text.h"
#include "base/units.h"
#include "control/books.h"
#include "control/estimate.h"
#include "control/step.h"
#include "policy/remedy.h"

namespace orch::api {

using namespace control;
using nlohmann::ordered_json;

namespace {

/// As a person would name it: the beginning of its key, model and task.
std::string named(const State& state, CellId id) {
  const Cell& cell = state.cells[index(id)];
  return to_hex(cell.key).substr(0, 12) + " (" + shown(state.names[cell.model]) + "/" + shown(state.names[cell.task]) +
         ")";
}

/// Its place among those of its need: the best is first.
struct Rank {
  double score = 0;
  SweepId sweep{};
  std::uint32_t order = 0;
  bool before(const Rank& other) const {
    return std::tuple(-score, sweep, order) < std::tuple(-other.score, other.sweep, other.order);
  }
};

/// By the best of the sweeps on whose behalf it may be leased; nothing when there is none.
std::optional<Rank> rank_of(const State& state, CellId id, Now now) {
  const Cell& cell = state.cells[index(id)];
  if (cell.state != CellState::kWaiting || state.held_models.contains(state.names[cell.model])) return std::nullopt;
  std::optional<Rank> best;
  state.each_want(id, [&](const Want& want) {
    const Sweep& sweep = state.sweeps[index(want.sweep)];
    const Wanted& wanted = sweep.cells[want.order];
    if (sweep.state != SweepState::kRunning || !state.cares(want, id)) return;
    const Rank rank{static_cast<double>(wanted.score) + age_bonus(state, sweep, now), want.sweep, want.order};
    if (!best || rank.before(*best)) best = rank;
  });
  return best;
}

const Trouble* trouble_of(const State& state, CellId cell) {
  const auto at = state.troubles.find(cell);
  return at == state.troubles.end() ? nullptr : &at->second;
}

/// `; before, it failed twice, the last time because …`
std::string earlier_failures(const State& state, CellId id) {
  const Trouble* trouble = trouble_of(state, id);
  if (!trouble || trouble->attempts() == 0) return "";
  return "; " + counted(trouble->attempts(), "attempt") + " failed before" +
         (trouble->reason.empty() ? "" : ", the last because " + shown(trouble->reason, 300));
}

std::string why_running(const State& state, CellId id) {
  const Cell& cell = state.cells[index(id)];
  std::vector<std::string> places;
  std::size_t leased = 0;
  bool begun = false, tells = false;
  for (std::uint32_t number = 0; number < cell.chunks; ++number)
    if (const Lease* lease = state.leases.find({id, number})) {
      ++leased;
      begun = begun || lease->running;
      tells = tells || lease->all > 0;
    }
  for (const JobId job : jobs_at(state, id)) {
    const auto at = state.jobs.find(job);
    const std::string on =
        at == state.jobs.end() || at->second.nodes.empty() ? "" : " on " + shown(join(at->second.nodes, ", "), 200);
    places.push_back(id_of(job) + on);
  }
  const auto share = progress(state, id);
  const std::string so_far = tells && share ? "; " + format_fixed(100 * *share, 1) + " % of it is done" : "";
  const std::string where = (places.size() == 1 ? "job " : "jobs ") + join(places, ", ");
  if (cell.chunks > 1) {
    const auto chunks = state.chunks.find(id);
    const auto done =
        chunks == state.chunks.end() ? 0 : std::count(chunks->second.begin(), chunks->second.end(), ChunkState::kDone);
    return std::to_string(done) + " of its " + std::to_string(cell.chunks) + " chunks are done, " +
           std::to_string(leased) + " are with " + where + so_far;
  }
  return begun ? "it runs in " + where + so_far : "it is with " + where + ", and has not begun yet";
}

std::string why_blocked(const State& state, CellId id) {
  const CellId maker = state.cells[index(id)].depends;
  return "it needs the adapter that cell " + named(state, maker) + " makes, which is " +
         std::string(name_of(state.cells[index(maker)].state));
}

std::string why_failed(const State& state, CellId id) {
  const Trouble* trouble = trouble_of(state, id);
  const std::string& stopped = state.needs[index(state.cells[index(id)].need)].stopped;
  const std::string reason = trouble && !trouble->reason.empty() ? trouble->reason : stopped;
  if (!stopped.empty() && reason == stopped)
    return "it failed because no job is submitted for its kind any more: " + shown(stopped, 600);
  return "it failed" + (trouble && trouble->attempts() > 0 ? " after " + counted(trouble->attempts(), "attempt") : "") +
         (reason.empty() ? "" : ": " + shown(reason, 600));
}

/// Who would take it, or why there is nobody.
std::string takers(const State& state, const Cell& cell, Now now) {
  const Need& need = state.needs[index(cell.need)];
  std::vector<std::string> running, queued;
  std::string says;
  for (const JobId id : state.open_jobs) {
    const Job& job = state.jobs.at(id);
    if (job.is_over() || job.state == JobState::kMissing || !fits(need, job)) continue;
    if (job.state == JobState::kRunning) running.push_back(id_of(id));
    if (job.state == JobState::kQueued || job.state == JobState::kSubmitting) {
      queued.push_back(id_of(id));
      if (says.empty()) says = job.cluster_says;
    }
  }
  if (!running.empty())
    return "; " + counted(static_cast<long long>(running.size()), "job") + " that can take it " +
           (running.size() == 1 ? "runs" : "run") + " (" + shown(join(running, ", ")) + ")";
  if (!queued.empty())
    return "; for such cells " + counted(static_cast<long long>(queued.size()), "job") + " " +
           (queued.size() == 1 ? "stands" : "stand") + " in the cluster's queue (" + shown(join(queued, ", ")) +
           (says.empty() ? "" : ": " + shown(says)) + ")";
  const auto planned = std::find_if(state.plan.begin(), state.plan.end(),
                                    [&](const event::PlannedJob& job) { return job.need == cell.need; });
  if (planned == state.plan.end()) return "; no job is there for it yet, the next plan will say";
  if (state.submit_again > now.serving) {
    const double seconds = std::chrono::duration<double>(state.submit_again - now.serving).count();
    return "; the cluster took no job a moment ago, the next try is in " + format_duration(seconds);
  }
  const auto against = Books(state, now).against(*planned);
  return "; a job for it is planned, " + (against ? "and is kept back: " + *against : "and is submitted at once");
}

std::string why_waiting(const State& state, CellId id, Now now) {
  const Cell& cell = state.cells[index(id)];
  const std::string& model = state.names[cell.model];
  if (state.held_models.contains(model))
    return "its model " + shown(model) + " is held (orchctl release --model " + shown(model) + ")";
  std::vector<std::string> held;
  bool live = false;
  state.each_want(id, [&](const Want& want) {
    const Sweep& sweep = state.sweeps[index(want.sweep)];
    if (!state.cares(want, id)) return;
    live = live || sweep.state == SweepState::kRunning;
    if (sweep.state == SweepState::kHeld) held.push_back(id_of(sweep.id));
  });
  if (!live && !held.empty())
    return "its sweep " + join(held, ", ") + " is held (orchctl release " + held.front() + ")";
  if (!live) return "no sweep that runs wants it";
  const std::string& stopped = state.needs[index(cell.need)].stopped;
  if (!stopped.empty()) return "no job is submitted for it: " + shown(stopped, 600);
  const std::size_t ahead = position(state, id, now).value_or(1) - 1;
  const std::string place = ahead == 0 ? "it is the next of its kind"
                                       : "it waits behind " + counted(static_cast<long long>(ahead), "cell") +
                                             " of its kind with a better score";
  return place + takers(state, cell, now) + earlier_failures(state, id);
}

/// Of the sweep that wants it most, of those that want what there is now.
float score_of(const State& state, CellId id) {
  float score = 0;
  state.each_want(id, [&](const Want& want) {
    const Wanted& wanted = state.sweeps[index(want.sweep)].cells[want.order];
    if (state.cares(want, id)) score = std::max(score, wanted.score);
  });
  return score;
}

ordered_json wants_json(const State& state, CellId id) {
  ordered_json list = ordered_json::array();
  state.each_want(id, [&](const Want& want) {
    const Sweep& sweep = state.sweeps[index(want.sweep)];
    list.push_back({{"id", id_of(sweep.id)},
                    {"name", sweep.name},
                    {"order", want.order},
                    {"state", std::string(name_of(sweep.state))}});
  });
  return list;
}

ordered_json failures_json(const store::Store& store, CellId id, std::uint16_t generation) {
  ordered_json list = ordered_json::array();
  for (const row::PutFailure& failure : store.failures(id)) {
    if (failure.generation != generation) continue;
    list.push_back({{"cause", std::string(policy::name_of(failure.cause))},
                    {"remedy", std::string(policy::name_of(failure.remedy))},
                    {"reason", failure.reason},
                    {"job", failure.job == JobId{0} ? ordered_json() : ordered_json(id_of(failure.job))},
                    {"at", time_json(failure.at)}});
  }
  return list;
}

/// What there is of the cell's own generation. The store gives results by the sweep: of those that want it, the
/// smallest is read.
struct Measured {
  ordered_json metrics = ordered_json::object(), figures = ordered_json::object();
};
Measured measured(const State& state, const store::Store& store, CellId id) {
  const Cell& cell = state.cells[index(id)];
  if (cell.state != CellState::kDone && !state.chunks.contains(id)) return {};
  const Sweep* smallest = nullptr;
  state.each_want(id, [&](const Want& want) {
    const Sweep& sweep = state.sweeps[index(want.sweep)];
    if (sweep.cells[want.order].generation == cell.generation &&
        (!smallest || sweep.cells.size() < smallest->cells.size()))
      smallest = &sweep;
  });
  Measured found;
  if (smallest)
    store.each_result(smallest->id, [&](const store::ResultRow& row) {
      if (row.cell == id) found = {merged_metrics(row.metrics), merged_figures(row.figures, row.seconds, true)};
    });
  return found;
}

}  // namespace

std::optional<std::size_t> position(const State& state, CellId id, Now now) {
  const auto own = rank_of(state, id, now);
  if (!own) return std::nullopt;
  std::size_t place = 1;
  const NeedId need = state.cells[index(id)].need;
  for (std::uint32_t i = 0; i < state.cells.size(); ++i) {
    if (state.cells[i].need != need || CellId{i} == id) continue;
    const auto other = rank_of(state, CellId{i}, now);
    place += static_cast<std::size_t>(other && other->before(*own));
  }
  return place;
}

std::string why(const State& state, CellId id, Now now) {
  switch (state.cells[index(id)].state) {
    case CellState::kBlocked:
      return why_blocked(state, id);
    case CellState::kWaiting:
      return why_waiting(state, id, now);
    case CellState::kRunning:
      return why_running(state, id) + earlier_failures(state, id);
    case CellState::kDone:
      return "it is done" + earlier_failures(state, id);
    case CellState::kFailed:
      return why_failed(state, id);
    case CellState::kCancelled:
      return "it was cancelled: no sweep wants it any more";
  }
  return "";
}

ordered_json cell_json(const State& state, const store::Store& store, CellId id, Now now) {
  const Cell& cell = state.cells[index(id)];
  const store::CellText text = store.cell(id);
  const Need& need = state.needs[index(cell.need)];
  const std::set<JobId> jobs = jobs_at(state, id);
  const Estimate takes = estimate(state, id);
  const auto content = ordered_json::parse(text.content, nullptr, false);
  const auto place = position(state, id, now);
  ordered_json json;
  json["key"] = to_hex(cell.key);
  json["cell"] = id_of(id);
  json["model"] = state.names[cell.model];
  json["task"] = state.names[cell.task];
  json["adapter"] =
      cell.depends == kNoCell ? ordered_json() : ordered_json(to_hex(state.cells[index(cell.depends)].key));
  json["settings"] = settings_json(text.settings);
  json["content"] = content.is_discarded() ? ordered_json(text.content) : content;
  json["state"] = std::string(name_of(cell.state));
  json["generation"] = cell.generation;
  json["chunks"] = cell.chunks;
  json["score"] = score_of(state, id);
  json["expected_s"] = takes.expected;
  json["bound_s"] = takes.bound;
  json["expected_from"] = basis_of(state, id, takes);
  json["need"] = {{"gpus", need.resources.gpus},     {"nodes", need.resources.nodes}, {"cpus", need.resources.cpus},
                  {"memory", need.resources.memory}, {"profile", need.profile},       {"load_s", need.load}};
  json["sweeps"] = wants_json(state, id);
  json["failures"] = failures_json(store, id, cell.generation);
  Measured found = measured(state, store, id);
  json["metrics"] = std::move(found.metrics);
  json["figures"] = std::move(found.figures);
  const auto share = progress(state, id);
  json["progress"] = share ? ordered_json(*share) : ordered_json();
  json["live"] = live_json(state, id);
  json["job"] = jobs.empty() ? ordered_json() : ordered_json(id_of(*jobs.begin()));
  json["position"] = place ? ordered_json(*place) : ordered_json();
  json["why"] = why(state, id, now);
  return json;
}

}  // namespace orch::api
