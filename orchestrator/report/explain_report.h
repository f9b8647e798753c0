// Why: the reasons behind a model's size, a job's place, a cell's score.
#pragma once

#include <iosfwd>

#include <nlohmann/json_fwd.hpp>

#include "planner/plan.h"
#include "report/table.h"

namespace orch::report {

/// What a model needs and how it can be cut, on each number of GPUs that the cluster's nodes allow.
nlohmann::ordered_json model_json(const Model& model, const planner::Need& need, const planner::Site& site);
void print_model(std::ostream& out, const Style& style, const nlohmann::ordered_json& explanation);

nlohmann::ordered_json job_json(std::uint32_t job, const planner::Plan& plan, const matrix::Expansion& expansion,
                                const planner::Site& site);
void print_job(std::ostream& out, const Style& style, const nlohmann::ordered_json& explanation);

nlohmann::ordered_json cell_json(std::uint32_t cell, const planner::Plan& plan, const matrix::Expansion& expansion,
                                 const planner::Site& site);
void print_cell(std::ostream& out, const Style& style, const nlohmann::ordered_json& explanation);

}  // namespace orch::report
