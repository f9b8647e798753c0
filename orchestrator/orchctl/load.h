// Reading what a command was given (inputs/), with the session's folders and catalogs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "inputs/inputs.h"
#include "orchctl/command.h"

namespace orch::orchctl {

using inputs::expand_options;
using inputs::Planned;

inputs::Sources sources_of(const Session& session);

Catalog load_catalog(const Session& session, Diagnostics& diagnostics);
std::optional<policy::Policy> load_policy(const Session& session, const std::string& named, Diagnostics& diagnostics);
std::optional<Cluster> load_cluster(const Session& session, const std::string& named, const std::string& on,
                                    const Catalog& catalog, Diagnostics& diagnostics);

/// Reads the files, with all their problems at once, and plans. Nothing when there was a problem.
std::unique_ptr<Planned> load_and_plan(const Session& session, const PlanFiles& files, Diagnostics& diagnostics);

}  // namespace orch::orchctl
