// Where jobs go: to Slurm, or to this machine, and what the cluster looks like to the planner.
#pragma once

#include <filesystem>
#include <string>

#include "base/cluster.h"
#include "base/result.h"
#include "inputs/inputs.h"

namespace orch::orchd {

enum class Where { kSlurm, kLocal };
std::string_view name_of(Where where);

struct Site {
  Where where = Where::kLocal;
  Cluster cluster;
  std::string why;  ///< of the choice, for people
};

struct SiteRequest {
  std::string cluster;  ///< `slurm`, `local`, a file, the name of one that ships; empty: as before, or what is there
  std::string on;       ///< which cluster, of a file with several
  int gpus = 0;         ///< of the local cluster: slots to pretend; 0: those of the machine
};

/// Chooses, and keeps the choice in the state directory (cluster.yaml, orchd.json) for the next start.
Result<Site> choose_site(const SiteRequest& request, const std::filesystem::path& state,
                         const inputs::Sources& sources);

}  // namespace orch::orchd
