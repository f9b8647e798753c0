// What a change of policy would change: its numbers, and with a matrix the ranking, the rejections, the jobs and the
// hours.
#pragma once

#include <iosfwd>

#include <nlohmann/json_fwd.hpp>

#include "planner/plan.h"
#include "report/table.h"

namespace orch::report {

/// One side of a comparison. Both sides come of one matrix and one cluster; cells are matched by model and task.
struct Side {
  const planner::Plan& plan;
  const matrix::Expansion& expansion;
  const planner::Site& site;
};

/// Every number and rule of the policy, in the order of its file: `weights.task_weight`, a ladder in one row.
void print_policy(std::ostream& out, const Style& style, const policy::Policy& policy);

/// The `changes` of a `policy_diff` (docs/schemas/output.json): values as in the policy's JSON, null where a policy has
/// none.
nlohmann::ordered_json changes_json(const policy::Policy& a, const policy::Policy& b);

/// The rest of a `policy_diff`.
nlohmann::ordered_json compare_plans(const Side& a, const Side& b);

void print_changes(std::ostream& out, const Style& style, const nlohmann::ordered_json& changes);
void print_comparison(std::ostream& out, const Style& style, const nlohmann::ordered_json& comparison);

}  // namespace orch::report
