// Where jobs go: to Slurm, or to this machine, and what the cluster looks like to the planner.
#pragma once

#include <filesystem>
#include <string>

#include "base/cluster.h"
#include "base/result.h"
#include "inputs/inputs.h"
#include "orchd/settings.h"
#include "policy/ceilings.h"

namespace orch::orchd {

enum class Where { kSlurm, kLocal };
std::string_view name_of(Where where);

struct Site {
  Where where = Where::kLocal;
  Cluster cluster;
  std::string why;   ///< of the choice, for people
  std::string text;  ///< the file that describes it
  std::string on;    ///< which cluster of that file; empty: the only one
  int gpus = 0;      ///< that a local one pretends to have; 0: none is pretended
};

struct SiteRequest {
  std::string cluster;  ///< `slurm`, `local`, a file, the name of one that ships; empty: as before, or what is there
  std::string on;       ///< which cluster, of a file with several
  int gpus = 0;         ///< of the local cluster: slots to pretend; 0: those of the machine
};

/// Chooses. `kept` is what the last start chose, of which the state directory has the file cluster.yaml.
Result<Site> choose_site(const SiteRequest& request, const Settings& kept, const std::filesystem::path& state,
                         const inputs::Sources& sources);

/// What the site sets above every policy; nothing set where there is no such file. One that others than root could
/// have written is refused.
Result<policy::Ceilings> load_ceilings(const std::filesystem::path& file);

/// Keeps the choice for the next start: in cluster.yaml, and in the settings.
Result<std::monostate> keep_site(const Site& site, const std::filesystem::path& state, Settings& settings);

}  // namespace orch::orchd
