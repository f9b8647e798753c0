// What a change of policy would change: its numbers, and with a matrix the ranking, the rejections, the jobs and the
// hours.
#pragma once

#include <iosfwd>

#include <nlohmann/json_fwd.hpp>

#include "planner/plan.h"
#include "report/table.h"

namespace orch::report {

/// One side of a comparison. Both sides come of one matrix and one cluster; cells are matched by key.
struct Side {
  const planner::Plan& plan;
  const matrix::Expansion& expansion;
  const planner::Site& site;
};

/// The `policy_diff` of docs/schemas/output.json, without its `changes`.
nlohmann::ordered_json compare_plans(const Side& a, const Side& b);

void print_changes(std::ostream& out, const Style& style, const nlohmann::ordered_json& changes);
void print_comparison(std::ostream& out, const Style& style, const nlohmann::ordered_json& comparison);

}  // namespace orch::report
