// What the daemon does, as people read it: its sweeps, its jobs, one of them or one cell in full, what happened. All
// from the JSON of its API, so that it makes no difference whether the daemon or its store gave it.
#pragma once

#include <iosfwd>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "report/table.h"

namespace orch::report {

/// Daemon, sweeps, jobs. Of sweeps that have ended only the newest few; a line says how many there are besides.
void print_status(std::ostream& out, const Style& style, const nlohmann::ordered_json& status);

void print_job_list(std::ostream& out, const Style& style, const nlohmann::ordered_json& jobs);
void print_cell_list(std::ostream& out, const Style& style, const nlohmann::ordered_json& cells);

/// The `explain_sweep` of docs/schemas/output.json: the sweep's row of a status, and why cells of it are not done,
/// equal reasons together, the most frequent first.
nlohmann::ordered_json sweep_details(const nlohmann::ordered_json& sweep, const nlohmann::ordered_json& cells);
void print_sweep_details(std::ostream& out, const Style& style, const nlohmann::ordered_json& details);
void print_job_details(std::ostream& out, const Style& style, const nlohmann::ordered_json& job);
void print_cell_details(std::ostream& out, const Style& style, const nlohmann::ordered_json& cell);

/// One line.
void print_event(std::ostream& out, const nlohmann::ordered_json& event);

/// `812 of 1,200 cells done, 16 running, 2 failed, about 2 h 14 min left`, of a sweep's row.
std::string progress_of(const nlohmann::ordered_json& sweep);

}  // namespace orch::report
