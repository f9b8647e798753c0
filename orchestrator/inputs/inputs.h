// The files that a plan is made of: those that ship with the program, a site's, and the user's. The one place where
// orchctl and orchd read them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/catalog.h"
#include "base/cluster.h"
#include "base/data_folders.h"
#include "base/diagnostics.h"
#include "matrix/expand.h"
#include "planner/plan.h"
#include "policy/policy.h"

namespace orch::inputs {

struct Sources {
  DataFolders data;
  std::vector<std::string> catalogs;  ///< a site's own files and folders, read after those that ship
};

Catalog load_catalog(const Sources& sources, Diagnostics& diagnostics);

/// A path, or the name of one that ships: `tournament`. Empty: the default.
std::optional<policy::Policy> load_policy(const Sources& sources, const std::string& named, Diagnostics& diagnostics);

/// As load_policy(). `on` names one of a file's clusters; it must when the file holds several.
std::optional<Cluster> load_cluster(const Sources& sources, const std::string& named, const std::string& on,
                                    const Catalog& catalog, Diagnostics& diagnostics);
/// Which file load_cluster() would read.
std::optional<std::filesystem::path> find_cluster(const Sources& sources, const std::string& named,
                                                  Diagnostics& diagnostics);
std::optional<std::filesystem::path> find_policy(const Sources& sources, const std::string& named,
                                                 Diagnostics& diagnostics);

/// Reads a template by the name that a profile or an {% include %} gives, from the site's folder (if any) before the
/// one that ships: its path and text. Names lead nowhere else.
std::optional<std::pair<std::filesystem::path, std::string>> read_template(const std::string& name,
                                                                           const std::filesystem::path& own,
                                                                           const DataFolders& data);

/// What expansion takes from the place that a matrix is planned for, which must outlive the options.
matrix::ExpandOptions expand_options(const planner::Site& site);

/// A plan with all that it refers to. Not to be moved: `site` refers to its neighbours.
struct Planned {
  Catalog catalog;
  policy::Policy policy;
  Cluster cluster;
  planner::History history;
  DataFolders shipped;            ///< whose tasks the native engine asks
  std::filesystem::path data;     ///< the folder of their questions and of data sets; empty: nobody looks for them
  std::filesystem::path digests;  ///< a file that remembers digests; empty: nobody looks at weights
  matrix::Expansion expansion;
  std::unique_ptr<planner::Site> site;
  planner::Plan plan;
};

/// Reads the matrix and plans it for what `planned` holds (catalog, policy, cluster, history). False when there was a
/// problem.
bool plan_matrix(Planned& planned, const Yaml& matrix, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch::inputs
