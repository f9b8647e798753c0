// The files that ship, read once: fuzzed input refers to what they describe.
#pragma once

#include "base/catalog.h"
#include "base/cluster.h"
#include "policy/policy.h"

namespace orch::fuzz {

const Catalog& shipped_catalog();
const policy::Policy& shipped_policy();
const Cluster& shipped_cluster();

}  // namespace orch::fuzz
