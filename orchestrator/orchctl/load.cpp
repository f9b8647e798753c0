#include "orchctl/load.h"

#include "planner/history_file.h"

namespace orch::orchctl {

inputs::Sources sources_of(const Session& session) { return {session.data, session.catalogs}; }

Catalog load_catalog(const Session& session, Diagnostics& diagnostics) {
  return inputs::load_catalog(sources_of(session), diagnostics);
}

std::optional<policy::Policy> load_policy(const Session& session, const std::string& named, Diagnostics& diagnostics) {
  return inputs::load_policy(sources_of(session), named, diagnostics);
}

std::optional<Cluster> load_cluster(const Session& session, const std::string& named, const std::string& on,
                                    const Catalog& catalog, Diagnostics& diagnostics) {
  return inputs::load_cluster(sources_of(session), named, on, catalog, diagnostics);
}

std::unique_ptr<Planned> load_and_plan(const Session& session, const PlanFiles& files, Diagnostics& diagnostics) {
  auto planned = std::make_unique<Planned>();
  planned->catalog = load_catalog(session, diagnostics);
  // A wrong catalog would make good names in the other files look wrong.
  if (!diagnostics.ok()) return nullptr;
  auto policy = load_policy(session, files.policy, diagnostics);
  auto cluster = load_cluster(session, files.cluster, files.on, planned->catalog, diagnostics);
  if (!files.history.empty())
    if (const auto root = load_yaml(files.history, diagnostics))
      planned->history = planner::read_history(*root, files.history, planned->catalog, diagnostics);
  const auto root = load_yaml(files.matrix, diagnostics);
  if (!policy || !cluster) {
    // The matrix's problems are told with the others'.
    if (root) matrix::read_matrix(*root, files.matrix, planned->catalog, diagnostics);
    return nullptr;
  }
  planned->policy = *std::move(policy);
  planned->cluster = *std::move(cluster);
  if (!root || !inputs::plan_matrix(*planned, *root, files.matrix, diagnostics)) return nullptr;
  return planned;
}

}  // namespace orch::orchctl
