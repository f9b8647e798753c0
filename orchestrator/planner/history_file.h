// History as a file: what was measured elsewhere, so that a plan without a daemon can learn from it.
//
//   measurements: [{model: llama2_70b, task: mmlu, profile: large_single, seconds_per_unit: [0.021, 0.022]}]
//   outcomes: [{family: llama, type: eval_knowledge, succeeded: 40, failed: 1}]
#pragma once

#include <string>

#include "base/yaml.h"
#include "planner/work.h"

namespace orch::planner {

/// Problems go to `diagnostics`; what was right is in the history returned.
History read_history(const Yaml& root, const std::string& file, const Catalog& catalog, Diagnostics& diagnostics);

}  // namespace orch::planner
