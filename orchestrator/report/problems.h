// What is wrong with files, for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/diagnostics.h"

namespace orch::report {

/// The `problem`s of docs/schemas/output.json and docs/openapi.yaml.
nlohmann::ordered_json problems_json(const Diagnostics& diagnostics);

}  // namespace orch::report
