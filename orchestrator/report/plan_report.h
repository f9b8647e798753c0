// A plan as people read it and as programs read it.
#pragma once

#include <iosfwd>

#include <nlohmann/json_fwd.hpp>

#include "planner/plan.h"
#include "report/table.h"

namespace orch::report {

/// Tables of the jobs, the rejections and what waits; the last lines compare the plan with one job per cell.
void print_plan(std::ostream& out, const Style& style, const planner::Plan& plan, const matrix::Expansion& expansion,
                const planner::Site& site);

/// A table of the accepted cells, best first.
void print_cells(std::ostream& out, const Style& style, const planner::Plan& plan, const matrix::Expansion& expansion,
                 const planner::Site& site);

/// The `plan` of docs/schemas/output.json, written piece by piece: a million cells must not become one tree in memory.
void write_plan_json(std::ostream& out, const planner::Plan& plan, const matrix::Expansion& expansion,
                     const planner::Site& site, bool with_cells);

/// What the totals of a plan count that does not run.
struct Waits {
  std::int64_t jobs = 0;
  double gpu_hours = 0;
};
Waits waits_of(const planner::Plan& plan);

/// Indices of the accepted cells: best score first, then key, so that the order is the same everywhere.
std::vector<std::uint32_t> ranked_cells(const planner::Plan& plan, const matrix::Expansion& expansion);

/// GPU-hours: `1,250`, `41.2`, `0.031`.
std::string format_hours(double gpu_hours);

std::string model_name(const Catalog& catalog, std::uint32_t model);  ///< `-` for none
std::string task_name(const Catalog& catalog, std::uint32_t task);

/// `llama2_70b`, `gemma2_2b + 3 more`.
std::string models_of(const planner::Job& job, const Catalog& catalog);

nlohmann::ordered_json to_json(const Layout& layout);
nlohmann::ordered_json to_json(const MemoryUse& memory);

}  // namespace orch::report
