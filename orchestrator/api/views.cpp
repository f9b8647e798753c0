#include "api/views.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "control/estimate.h"

namespace orch::api {

using namespace control;
using nlohmann::ordered_json;

namespace {

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }

/// `a`, `a + 2 more`.
std::string several(const std::set<std::string>& names) {
  if (names.empty()) return "";
  return *names.begin() + (names.size() == 1 ? "" : " + " + std::to_string(names.size() - 1) + " more");
}

/// The models that a need's jobs were planned for, as its script's values name them.
std::string planned_models(const Need& need) {
  const auto values = ordered_json::parse(need.script_values, nullptr, false);
  const ordered_json::json_pointer at("/job/models");
  if (!values.is_object() || !values.contains(at) || !values[at].is_array()) return "";
  std::set<std::string> names;
  for (const auto& name : values[at])
    if (name.is_string()) names.insert(name.get<std::string>());
  return several(names);
}

/// Jobs in rows: what jobs of one need have in common is worked out once.
class JobRows {
 public:
  JobRows(const State& state, Now now) : state_(state), now_(now) {}

  ordered_json row(const Job& job) {
    ordered_json json;
    json["id"] = id_of(job.id);
    json["slurm_job_id"] = text_or_null(job.cluster_id);
    json["name"] = job.name;
    json["profile"] = job.profile;
    json["model"] = model(job);
    json["state"] = std::string(name_of(job.state));
    json["reason"] = reason(job);
    json["cells_done"] = job.delivered;
    json["nodes"] = job.nodes;
    json["gpus"] = job.resources.gpus;
    json["time_limit_s"] = job.time_limit;
    json["submitted"] = time_json(job.submitted);
    json["started"] = time_json(job.started);
    json["ended"] = time_json(job.ended);
    json["gpu_hours"] = hours(job, now_);
    return json;
  }

  static double hours(const Job& job, Now now) { return had(job, Utc::min(), now.utc) / kGpuHour; }

 private:
  /// What it works on; if that is nothing, what it was submitted for.
  std::string model(const Job& job) {
    std::set<std::string> names;
    for (const Chunk& chunk : state_.leases.of(job.id))
      names.insert(state_.names[state_.cells[index(chunk.cell)].model]);
    if (!names.empty()) return several(names);
    const auto [at, added] = planned_.try_emplace(job.need);
    if (added) at->second = planned_models(state_.needs[index(job.need)]);
    return at->second;
  }

  /// How it ended, or why it stands where it is: our words before the cluster's.
  static std::string reason(const Job& job) {
    if (job.end) return std::string(name_of(*job.end)) + (job.reason.empty() ? "" : ": " + job.reason);
    if (job.cancel_asked) return "it is being cancelled" + (job.reason.empty() ? "" : ": " + job.reason);
    return job.reason.empty() && !job.has_worker() ? job.cluster_says : job.reason;
  }

  const State& state_;
  Now now_;
  std::map<NeedId, std::string> planned_;
};

ordered_json sweep_row(const State& state, const Sweep& sweep, double hours) {
  ordered_json cells;
  cells["total"] = static_cast<std::int64_t>(sweep.cells.size()) + sweep.rejected_cells;
  cells["waiting"] = sweep.count(CellState::kWaiting) + sweep.count(CellState::kBlocked);
  cells["running"] = sweep.count(CellState::kRunning);
  cells["done"] = sweep.count(CellState::kDone);
  cells["failed"] = sweep.count(CellState::kFailed);
  cells["rejected"] = sweep.rejected_cells;
  cells["cancelled"] = sweep.count(CellState::kCancelled);
  ordered_json json;
  json["id"] = id_of(sweep.id);
  json["name"] = sweep.name;
  json["user"] = sweep.user;
  json["state"] = std::string(name_of(sweep.state));
  json["submitted"] = time_json(sweep.submitted);
  json["ended"] = time_json(sweep.ended);
  json["cells"] = std::move(cells);
  json["gpu_hours"] = hours;
  const auto seconds = eta(state, sweep);
  json["eta_s"] = seconds ? ordered_json(*seconds) : ordered_json();
  return json;
}

/// A training that runs, with its figures of the last step.
ordered_json training_row(const State& state, const Chunk& chunk, const Lease& lease) {
  const Cell& cell = state.cells[index(chunk.cell)];
  ordered_json json;
  json["cell"] = id_of(chunk.cell);
  json["key"] = to_hex(cell.key);
  json["model"] = state.names[cell.model];
  json["task"] = state.names[cell.task];
  json["job"] = id_of(lease.job);
  json["live"] = ordered_json::parse(lease.live, nullptr, false);
  return json;
}

bool is_wanted_by(const State& state, CellId cell, SweepId sweep) {
  bool wanted = false;
  state.each_want(cell, [&](const Want& want) { wanted = wanted || want.sweep == sweep; });
  return wanted;
}

bool is_shown(const Job& job, Utc since) { return job.state != JobState::kEnded || job.ended >= since; }

}  // namespace

ordered_json time_json(Utc time) {
  if (time == Utc{}) return nullptr;
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  char text[48];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

std::vector<double> gpu_hours(const State& state, Now now) {
  std::vector<double> hours(state.sweeps.size(), 0.0);
  for (const Sweep& sweep : state.sweeps) hours[index(sweep.id)] = state.ledger.sweep(sweep.id) / kGpuHour;
  for (const JobId id : state.open_jobs) {
    const Job& job = state.jobs.at(id);
    hours[index(job.sweep)] += JobRows::hours(job, now);
  }
  return hours;
}

std::optional<double> eta(const State& state, const Sweep& sweep) {
  if (!is_live(sweep.state)) return 0;
  // Of cells in several chunks, each that is leased is worked on.
  double running = sweep.count(CellState::kRunning);
  if (running == 0) return std::nullopt;
  std::set<CellId> cut;
  for (const auto& [chunk, lease] : state.leases.all())
    if (state.cells[index(chunk.cell)].chunks > 1)
      state.each_want(chunk.cell, [&](const Want& want) {
        if (want.sweep != sweep.id) return;
        running += 1;
        cut.insert(chunk.cell);
      });
  running -= static_cast<double>(cut.size());
  return work_left(state, sweep) / running;
}

ordered_json daemon_json(const DaemonView& daemon) {
  ordered_json json;
  json["state"] = daemon.state;
  json["since"] = time_json(daemon.since);
  json["version"] = daemon.version;
  json["host"] = daemon.host;
  json["instance"] = daemon.instance;
  json["cluster"] = daemon.cluster;
  json["policy"] = daemon.policy;
  return json;
}

ordered_json sweep_json(const State& state, SweepId sweep, Now now) {
  return sweep_row(state, state.sweeps[index(sweep)], gpu_hours(state, now)[index(sweep)]);
}

ordered_json job_json(const State& state, const Job& job, Now now) { return JobRows(state, now).row(job); }

ordered_json jobs_json(const State& state, Utc since, Now now) {
  JobRows rows(state, now);
  ordered_json list = ordered_json::array();
  for (const auto& [id, job] : state.jobs)
    if (is_shown(job, since)) list.push_back(rows.row(job));
  return list;
}

ordered_json status_json(const State& state, const DaemonView& daemon, std::optional<SweepId> only, Now now) {
  ordered_json json;
  json["daemon"] = daemon_json(daemon);
  const std::vector<double> hours = gpu_hours(state, now);
  ordered_json& sweeps = json["sweeps"] = ordered_json::array();
  for (const Sweep& sweep : state.sweeps)
    if (!only || sweep.id == *only) sweeps.push_back(sweep_row(state, sweep, hours[index(sweep.id)]));
  JobRows rows(state, now);
  ordered_json& jobs = json["jobs"] = ordered_json::array();
  const Utc since = daemon.since == Utc{} ? Utc::max() : daemon.since;
  for (const auto& [id, job] : state.jobs)
    if (is_shown(job, since) && (!only || job.sweep == *only)) jobs.push_back(rows.row(job));
  ordered_json& trainings = json["trainings"] = ordered_json::array();
  for (const auto& [chunk, lease] : state.leases.all())
    if (!lease.live.empty() && (!only || is_wanted_by(state, chunk.cell, *only)))
      trainings.push_back(training_row(state, chunk, lease));
  return json;
}

ordered_json job_details_json(const State& state, const Job& job, const JobPlace& place, Now now) {
  ordered_json json = job_json(state, job, now);
  json["directory"] = text_or_null(place.directory);
  json["script"] = text_or_null(place.script);
  json["log"] = text_or_null(place.log);
  const Resources& resources = job.resources;
  json["need"] = {{"gpus", resources.gpus}, {"nodes", resources.nodes},
                  {"cpus", resources.cpus}, {"memory", resources.memory},
                  {"profile", job.profile}, {"load_s", state.needs[index(job.need)].load}};
  json["sweep"] = id_of(job.sweep);
  json["end"] = job.end ? ordered_json(std::string(name_of(*job.end))) : ordered_json();
  std::set<CellId> cells;
  for (const Chunk& chunk : state.leases.of(job.id)) cells.insert(chunk.cell);
  ordered_json& leases = json["leases"] = ordered_json::array();
  for (const CellId cell : cells) leases.push_back(id_of(cell));
  json["excluded_nodes"] = job.excluded_nodes;
  json["restarts"] = job.restarts;
  json["epoch"] = index(job.epoch);
  return json;
}

ordered_json event_json(const store::EventRow& event) {
  const auto id = [](auto kind, std::int64_t number) {
    using Id = decltype(kind);
    return number < 0 ? ordered_json() : ordered_json(id_of(Id{static_cast<std::uint32_t>(number)}));
  };
  ordered_json json;
  json["number"] = event.number;
  json["at"] = time_json(event.note.at);
  json["kind"] = event.note.kind;
  json["sweep"] = id(SweepId{}, event.note.sweep);
  json["cell"] = id(CellId{}, event.note.cell);
  json["job"] = id(JobId{}, event.note.job);
  json["text"] = event.note.text;
  return json;
}

}  // namespace orch::api
