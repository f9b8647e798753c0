// Rejections as people and programs read them: one row a reason, however many combinations it meets.
#pragma once

#include <iosfwd>
#include <span>

#include <nlohmann/json_fwd.hpp>

#include "matrix/expand.h"
#include "report/table.h"

namespace orch::report {

/// The `rejection`s of docs/schemas/output.json, one for each rule and reason, in the order of their first. `models`
/// and `tasks` list whom it meets; `model` and `task` are the one in the list, or `*`.
nlohmann::ordered_json rejections_json(std::span<const matrix::Rejection> rejected);

/// A table of such rows.
void print_rejections(std::ostream& out, const Style& style, const nlohmann::ordered_json& rows);

/// Combinations in all rows.
std::int64_t count_of(std::span<const matrix::Rejection> rejected);

}  // namespace orch::report
