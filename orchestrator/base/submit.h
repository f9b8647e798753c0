// How jobs are submitted: what a site, a profile or a matrix says beyond the resources that the planner works out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/yaml.h"

namespace orch {

/// What a job's script says to Slurm and does before the worker starts. A field that is unset takes the value of the
/// next outer level: matrix, then profile, then partition, then cluster.
struct Submit {
  std::optional<std::string> partition, account, qos, reservation, constraint, licenses;
  std::optional<std::vector<std::string>> modules;
  std::optional<std::string> conda;              ///< environment to activate
  std::optional<std::string> container;          ///< image
  std::optional<std::string> container_runtime;  ///< apptainer | pyxis
  std::map<std::string, std::string> environment;
  std::optional<std::string> scratch;  ///< node-local folder, may hold $VARIABLES of the shell
  std::vector<std::string> sbatch;     ///< extra directives, without #SBATCH

  /// What is unset here is taken from `outer`; environment and sbatch lines are joined, this level's winning.
  Submit over(const Submit& outer) const;
};
/// Options that the plan itself sets, or that have a key of their own, are refused among the extra directives: what the
/// script asks for is what was planned.
Submit read_submit(const Yaml& node, const std::string& file, Diagnostics& diagnostics);

/// Why a job's environment cannot have a variable of this name; nothing if it can.
std::optional<std::string> why_not_variable(std::string_view name);

/// As read_submit(), where the partition is settled already: naming one there is an error that says `why`.
Submit read_submit_without_partition(const Yaml& node, const std::string& file, Diagnostics& diagnostics,
                                     std::string_view why);

}  // namespace orch
