// The sbatch script of a job: its profile's template with the job's values.
#pragma once

#include <cstdint>
#include <optional>
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

/// What is decided of a job only when it is submitted.
struct JobShape {
  std::string name;  ///< in the cluster
  int nodes = 1;
  int gpus = 0;                 ///< over all nodes
  int cpus = 1;                 ///< over all nodes
  std::int64_t memory = 0;      ///< bytes on each node; 0: not said
  std::int64_t time_limit = 0;  ///< seconds
};

/// The script_values() of a job, for the same cells in another shape. A worker that runs commands is one process a
/// node, whatever it has of GPUs.
void reshape(nlohmann::ordered_json& values, const JobShape& shape);

/// Why the job can have no script, such as an account with a newline in it; nothing: it can.
std::optional<std::string> why_no_script(const Job& job, const Plan& plan, const matrix::Expansion& expansion,
                                         const Site& site);

/// `text` is the template's; the caller read it.
Result<std::string, tmpl::TemplateError> render_script(const std::string& text, const std::string& file,
                                                       const nlohmann::ordered_json& values, tmpl::Loader loader);
Result<std::string, tmpl::TemplateError> render_script(const std::string& text, const std::string& file, const Job& job,
                                                       const Plan& plan, const matrix::Expansion& expansion,
                                                       const Site& site, tmpl::Loader loader);

}  // namespace orch::planner
