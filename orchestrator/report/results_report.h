// Results of a sweep, from the rows of the daemon's API: a table for people, CSV and Markdown for other programs.
#pragma once

#include <iosfwd>
#include <set>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "report/table.h"

namespace orch::report {

/// `0.713 ± 0.012`: the value as far as its standard error lets it be known.
std::string metric_text(const nlohmann::ordered_json& metric);

/// `seed=0, shots=5`
std::string settings_text(const nlohmann::ordered_json& settings);
/// … of those settings alone.
std::string settings_text(const nlohmann::ordered_json& settings, const std::set<std::string>& names);

/// Names of settings that are not the same in every row.
std::set<std::string> settings_that_differ(const nlohmann::ordered_json& rows);

enum class Form { kText, kMarkdown };

/// Models down and tasks across, where all cells have the same settings and a task has few metrics; otherwise a row
/// a metric, with the settings that are not the same everywhere. Where a cell has no result stands its state.
void print_results(std::ostream& out, const Style& style, const nlohmann::ordered_json& rows, Form form);

/// RFC 4180, a line a metric, and one for a cell that has none: sweep, key, model, task, adapter, settings (JSON),
/// state, attempts, gpu_seconds, seconds, metric, value, stderr, reason.
void write_results_csv(std::ostream& out, const nlohmann::ordered_json& rows);

}  // namespace orch::report
