#include "inputs/inputs.h"

#include <algorithm>
#include <cstdlib>

#include "base/fields.h"
#include "base/text.h"
#include "cache/contents.h"
#include "inputs/models.h"
#include "inputs/tasks.h"
#include "inputs/training.h"
#include "matrix/matrix.h"
#include "matrix/own_names.h"
#include "planner/shapes.h"
#include "planner/training.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The path that `given` means, else the variable, else `usual`: itself if there is such a file, else the file of that
/// name that ships in `folder`.
std::optional<fs::path> resolve(const std::string& given, const char* variable, const char* usual,
                                const fs::path& folder, const char* what, Diagnostics& diagnostics) {
  const std::string from_variable = given.empty() ? environment(variable) : "";
  const std::string named = !given.empty() ? given : !from_variable.empty() ? from_variable : usual;
  std::error_code ignored;
  if (fs::exists(named, ignored) || named.find('/') != std::string::npos || named.ends_with(".yaml") ||
      named.ends_with(".yml"))
    return fs::path(named);
  const fs::path shipped = folder / (named + ".yaml");
  if (fs::exists(shipped, ignored)) return shipped;
  std::vector<std::string> known;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".yaml") known.push_back(entry.path().stem().string());
  std::ranges::sort(known);
  diagnostics.error({named}, std::string("no such file, and no ") + what + " of that name ships with the program (" +
                                 join(known, ", ") + ")" + hint(named, known) +
                                 (from_variable.empty() ? "" : std::string("; ") + variable + " names it"));
  return std::nullopt;
}

}  // namespace

Catalog load_catalog(const Sources& sources, Diagnostics& diagnostics) {
  std::vector<fs::path> paths{sources.data.catalog};
  const std::string everywhere = environment("ORCH_CATALOG");
  for (std::string_view path : split(everywhere, ':'))
    if (!path.empty()) paths.emplace_back(path);
  for (const std::string& path : sources.catalogs) paths.emplace_back(path);
  Catalog catalog = orch::load_catalog(paths, diagnostics);
  matrix::check_category_settings(catalog, diagnostics);
  return catalog;
}

std::optional<fs::path> find_policy(const Sources& sources, const std::string& named, Diagnostics& diagnostics) {
  return resolve(named, "ORCH_POLICY", "default", sources.data.policies, "policy", diagnostics);
}

std::optional<fs::path> find_cluster(const Sources& sources, const std::string& named, Diagnostics& diagnostics) {
  return resolve(named, "ORCH_CLUSTER", "h100x8", sources.data.policies / "clusters", "cluster", diagnostics);
}

std::optional<policy::Policy> load_policy(const Sources& sources, const std::string& named, Diagnostics& diagnostics) {
  const auto path = find_policy(sources, named, diagnostics);
  if (!path) return std::nullopt;
  const auto root = load_yaml(*path, diagnostics);
  if (!root) return std::nullopt;
  return policy::read_policy(*root, path->string(), diagnostics);
}

std::optional<Cluster> load_cluster(const Sources& sources, const std::string& named, const std::string& on,
                                    const Catalog& catalog, Diagnostics& diagnostics) {
  const auto path = find_cluster(sources, named, diagnostics);
  if (!path) return std::nullopt;
  const auto root = load_yaml(*path, diagnostics);
  if (!root) return std::nullopt;
  const std::size_t before = diagnostics.error_count();
  std::vector<Cluster> clusters = read_clusters(*root, path->string(), catalog, diagnostics);
  if (diagnostics.error_count() != before) return std::nullopt;
  std::vector<std::string> names;
  for (const Cluster& cluster : clusters) names.push_back(cluster.name);
  if (on.empty() && clusters.size() == 1) return clusters.front();
  for (Cluster& cluster : clusters)
    if (cluster.name == on) return cluster;
  if (on.empty())
    diagnostics.error({path->string()}, "describes the clusters " + join(names, ", ") + "; say which with --on NAME");
  else
    diagnostics.error({path->string()},
                      "describes no cluster " + quote(on) + ", but " + join(names, ", ") + hint(on, names));
  return std::nullopt;
}

std::optional<std::pair<fs::path, std::string>> read_template(const std::string& name, const fs::path& own,
                                                              const DataFolders& data) {
  if (name.find('/') != std::string::npos || name.starts_with('.')) return std::nullopt;
  for (const fs::path& folder : {own, data.templates}) {
    std::error_code ignored;
    if (folder.empty() || !fs::exists(folder / name, ignored)) continue;
    Diagnostics unread;
    if (auto text = read_file(folder / name, 1 << 20, unread)) return std::pair(folder / name, std::move(*text));
  }
  return std::nullopt;
}

matrix::ExpandOptions expand_options(const planner::Site& site) {
  matrix::ExpandOptions options;
  options.train_defaults = [&site](const Model& model, const Task& task, matrix::Settings& settings) {
    return planner::complete_training(model, task, settings, site);
  };
  options.container = site.cluster.submit.container;
  options.places = planner::run_places(site);
  return options;
}

bool plan_matrix(Planned& planned, const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  const auto matrix = matrix::read_matrix(root, file, planned.catalog, diagnostics);
  if (!matrix || !diagnostics.ok()) return false;
  planned.catalog = matrix::with_own_names(*matrix, std::move(planned.catalog));
  if (matrix->submit.partition && !planned.cluster.find(*matrix->submit.partition)) {
    Place at{file};
    if (const Yaml* submit = root.find("submit"))
      if (const Yaml* partition = submit->find("partition")) at = place_of(*partition, file);
    std::vector<std::string> names;
    for (const Partition& partition : planned.cluster.partitions) names.push_back(partition.name);
    diagnostics.error(at, "the cluster " + quote(planned.cluster.name) + " has no partition " +
                              quote(*matrix->submit.partition) + ", but " + join(names, ", ") +
                              hint(*matrix->submit.partition, names));
    return false;
  }
  planned.site.reset(new planner::Site{planned.catalog, planned.cluster, planned.policy, matrix->submit});
  auto expansion = matrix::expand(*matrix, planned.catalog, expand_options(*planned.site), diagnostics);
  if (!expansion) return false;
  // What is asked, and of which weights, is part of a cell's key; which tasks and models these are is known only now.
  std::size_t looked = 0;
  if (!planned.data.empty()) looked += look_at_tasks(*expansion, planned.catalog, planned.data, planned.shipped);
  if (!planned.data.empty()) {
    const std::size_t before = diagnostics.error_count();
    looked += look_at_training(*expansion, planned.catalog, planned.data, planned.digests, diagnostics);
    if (diagnostics.error_count() != before) return false;
  }
  if (!planned.digests.empty())
    looked += look_at_models(*expansion, planned.catalog, cache::usual_root(), planned.digests);
  if (looked > 0) {
    expansion = matrix::expand(*matrix, planned.catalog, expand_options(*planned.site), diagnostics);
    if (!expansion) return false;
  }
  planned.expansion = std::move(*expansion);
  planned.plan = planner::make_plan(planned.expansion, *planned.site, planned.history);
  return true;
}

}  // namespace orch::inputs
