// Reading what a command was given, from the files that ship and from the user's own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/catalog.h"
#include "base/cluster.h"
#include "matrix/expand.h"
#include "orchctl/command.h"
#include "planner/plan.h"
#include "policy/policy.h"

namespace orch::orchctl {

/// $ORCH_DATA_DIR, or beside the program, or the source tree above it.
std::optional<DataFolders> find_data(const std::filesystem::path& program);

Catalog load_catalog(const Session& session, Diagnostics& diagnostics);

/// A path, or the name of one that ships: `tournament`. Empty: the default.
std::optional<policy::Policy> load_policy(const Session& session, const std::string& named, Diagnostics& diagnostics);

/// As load_policy(). `on` names one of a file's clusters; it must when the file holds several.
std::optional<Cluster> load_cluster(const Session& session, const std::string& named, const std::string& on,
                                    const Catalog& catalog, Diagnostics& diagnostics);

/// What expansion takes from the place that a matrix is planned for, which must outlive the options.
matrix::ExpandOptions expand_options(const planner::Site& site);

/// A plan with all that it refers to. Not to be moved: `site` refers to its neighbours.
struct Planned {
  Catalog catalog;
  policy::Policy policy;
  Cluster cluster;
  planner::History history;
  matrix::Expansion expansion;
  std::unique_ptr<planner::Site> site;
  planner::Plan plan;
};

/// Reads the files, with all their problems at once, and plans. Nothing when there was a problem.
std::unique_ptr<Planned> load_and_plan(const Session& session, const PlanFiles& files, Diagnostics& diagnostics);

}  // namespace orch::orchctl
