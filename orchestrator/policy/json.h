// A policy as data: for `policy show --json` and `policy diff`.
//
// Holds:
//  - What to_json() writes is itself a policy file (JSON is YAML): reading it gives the same policy.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "policy/policy.h"

namespace orch::policy {

/// With the keys of the file, in its documented order; durations are texts in seconds, `72000s`.
nlohmann::ordered_json to_json(const Policy& policy);

/// One number or rule in which two policies differ.
struct Change {
  std::string key;   ///< `weights.task_weight`
  std::string from;  ///< as it is written in YAML; `-` where the policy has no such key
  std::string to;
  bool operator==(const Change&) const = default;
};

/// What differs, in the order of the file; names and descriptions aside, because they decide nothing.
std::vector<Change> changes(const Policy& a, const Policy& b);

}  // namespace orch::policy
