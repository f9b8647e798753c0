// The files that ship, read once: fuzzed input refers to what they describe. And the promises that all targets check.
#pragma once

#include <optional>
#include <string_view>

#include "base/catalog.h"
#include "base/cluster.h"
#include "base/yaml.h"
#include "policy/policy.h"

namespace orch::fuzz {

const Catalog& shipped_catalog();
const policy::Policy& shipped_policy();
const Cluster& shipped_cluster();

/// As parse_yaml(), with limits that keep one input well under a second.
std::optional<Yaml> parse(std::string_view bytes, Diagnostics& diagnostics);

/// Stops the program when a promise is broken, saying which.
void promise(bool kept, std::string_view what);

/// Every problem has a place and a message that is safe on a terminal: UTF-8 without control characters.
void check_messages(const Diagnostics& diagnostics);

}  // namespace orch::fuzz
