// What people and programs see of the daemon: the JSON of its API, made from its state and its store. No HTTP, no
// clock: the same functions answer while the daemon runs and, from a store opened for reading, while it does not.
//
// Holds:
//  - Nothing here changes the state. Only cells, explanations and results touch the store: a status costs the same
//    with an empty one.
//  - Numbers are as people write them: sweeps s1, s2, …, jobs j1, j2, …, cells c0, c1, … Times are UTC, or null.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "control/ids.h"
#include "control/state.h"
#include "store/store.h"

namespace orch::api {

// Ids.

std::string id_of(control::SweepId sweep);  ///< `s1`
std::string id_of(control::JobId job);      ///< `j1`
std::string id_of(control::CellId cell);    ///< `c0`

/// `s3`, or a name: then the newest sweep of that name. The error suggests what may have been meant.
Result<control::SweepId> find_sweep(const control::State& state, std::string_view text);
/// `j12`, its name in the cluster, or the cluster's own id of it.
Result<control::JobId> find_job(const control::State& state, std::string_view text);
/// A key, its beginning (6 digits or more), or `c345`.
Result<control::CellId> find_cell(const control::State& state, const store::Store& store, std::string_view text);
/// What has a log.
using JobOrCell = std::variant<control::JobId, control::CellId>;
Result<JobOrCell> find_job_or_cell(const control::State& state, const store::Store& store, std::string_view text);

/// The state of that name; the error lists them.
Result<control::CellState> cell_state_named(std::string_view name);

// Lists.

/// The daemon as `status` shows it.
struct DaemonView {
  std::string state = "up";  ///< up | down
  control::Utc since{};      ///< its start; none while it is down
  std::string version, host, instance, cluster, policy;
};

nlohmann::ordered_json daemon_json(const DaemonView& daemon);
nlohmann::ordered_json sweep_json(const control::State& state, control::SweepId sweep, control::Now now);
nlohmann::ordered_json job_json(const control::State& state, const control::Job& job, control::Now now);

/// Jobs that are not over, and those that ended at `since` or later, the newest last.
nlohmann::ordered_json jobs_json(const control::State& state, control::Utc since, control::Now now);

/// Daemon, sweeps, jobs, and trainings that run and tell of themselves; of `only`, its own. While the daemon is down,
/// only jobs that had not ended.
nlohmann::ordered_json status_json(const control::State& state, const DaemonView& daemon,
                                   std::optional<control::SweepId> only, control::Now now);

/// The cells of a sweep in its order, one a line, only those of `only` if it is given.
void write_cells(std::ostream& out, const control::State& state, control::SweepId sweep,
                 std::optional<control::CellState> only);

/// The results of a sweep in its order, one a line. With a state, cells that run or are blocked are told from those
/// that wait.
void write_results(std::ostream& out, const store::Store& store, const control::State* state, control::SweepId sweep);

nlohmann::ordered_json event_json(const store::EventRow& event);

// One thing with its reasons.

/// Where the files of a job are; empty: they are not known here.
struct JobPlace {
  std::string directory, script, log;
};
nlohmann::ordered_json job_details_json(const control::State& state, const control::Job& job, const JobPlace& place,
                                        control::Now now);

nlohmann::ordered_json cell_json(const control::State& state, const store::Store& store, control::CellId cell,
                                 control::Now now);

/// What the cell waits for, or how it ended, as a sentence without a full stop.
std::string why(const control::State& state, control::CellId cell, control::Now now);

/// How many cells of its need go before it, and itself: 1 is next. Nothing when it cannot be leased now.
std::optional<std::size_t> position(const control::State& state, control::CellId cell, control::Now now);

// Numbers.

/// The metrics of a cell from those of its chunks, each JSON of `name: {value, stderr}`, and `weight` where the chunks
/// are of different size (the number of samples, say). A metric is the mean of the chunks that have it: weighted if all
/// of them say a weight, else plain. Its standard error is that of the mean of independent numbers, sqrt(Σ w² s²) / Σ
/// w, and null if a chunk says none.
/// Of the native engine, which says how its samples add up (`parts`), it is exactly what one chunk of all would have
/// had, part by part where there are several.
nlohmann::ordered_json merged_metrics(const std::vector<std::string>& chunks);
/// What was counted, over all chunks of a cell that took so many seconds together: sums, of memory the most. Of each
/// layer with experts how evenly they were chosen, and, `in_full`, how often each was.
nlohmann::ordered_json merged_figures(const std::vector<std::string>& chunks, double seconds, bool in_full = false);

/// GPU-hours that the jobs of each sweep have had, idle or not, by the number of the sweep: what budgets count.
std::vector<double> gpu_hours(const control::State& state, control::Now now);

/// Seconds until the sweep ends, if as many of its cells go on running side by side as do now. 0 once it has ended;
/// nothing while none of them runs. By what was measured, where something was.
std::optional<double> eta(const control::State& state, const control::Sweep& sweep);

/// `2026-11-21T17:00:00Z`; null for none.
nlohmann::ordered_json time_json(control::Utc time);

}  // namespace orch::api
