// The sbatch script of a job: its profile's template with the job's values.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "base/template/template.h"
#include "planner/plan.h"

namespace orch::planner {

/// The image that a command runs in: that of its cell, matrix or site (Need::container), else of the levels of its
/// placement. Empty: none, or the cell is no command, and its job runs in the job's.
std::string command_container(const Need& need, const Placement& place, const Site& site);

/// What a template may use: job, resources, submit, cells. Documented in docs/templates.md.
nlohmann::ordered_json script_values(const Job& job, const Plan& plan, const matrix::Expansion& expansion,
                                     const Site& site);

/// `text` is the template's; the caller read it.
Result<std::string, tmpl::TemplateError> render_script(const std::string& text, const std::string& file, const Job& job,
                                                       const Plan& plan, const matrix::Expansion& expansion,
                                                       const Site& site, tmpl::Loader loader);

}  // namespace orch::planner
