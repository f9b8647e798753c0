// What was written, for a start of the daemon and for reports. Whoever calls has begun a transaction that reads, so
// that several statements see one state.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "store/database.h"
#include "store/store.h"

namespace orch::store {

/// Texts that State does not keep (contents of cells, matrices) are not read.
control::State read_state(Database& database, policy::Policy policy, const std::string& instance, control::Rules rules);

std::optional<std::string> read_fact(Database& database, std::string_view name);
std::string read_instance(Database& database);
CellText read_cell(Database& database, control::CellId cell);
std::optional<control::CellId> find_cell(Database& database, const std::string& key_prefix);
void read_results(Database& database, control::SweepId sweep, const std::function<void(const ResultRow&)>& visit);
std::vector<EventRow> read_events(Database& database, std::int64_t after, std::size_t most);
/// From `cell, generation, job, cause, remedy, factor, crash, counts, nodes, at, reason`.
control::row::PutFailure failure_of(Statement& row);
std::vector<control::row::PutFailure> read_failures(Database& database, control::CellId cell);
std::optional<Attempt> read_accepted(Database& database, control::CellId cell);
std::vector<std::string> read_jobs_of(Database& database, control::CellId cell);
std::string read_matrix(Database& database, control::SweepId sweep);
std::string read_rejected(Database& database, control::SweepId sweep);

/// What does not fit together in rows that SQLite itself finds well formed.
std::vector<std::string> contradictions(Database& database);

}  // namespace orch::store
