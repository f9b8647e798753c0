// Waiting for a sweep to end, and what its end means for the exit code.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "orchctl/daemon.h"

namespace orch::orchctl {

/// 0: every cell is done; kSweepFailed: some failed; kFailed: it was cancelled. Nothing while it has not ended.
std::optional<int> exit_of(const nlohmann::ordered_json& sweep);

/// Waits for the end of the sweep, and gives its last row. Shows progress on the error stream: on a terminal in one
/// line that changes, otherwise a line a minute. A daemon that is away for a few minutes is waited for too.
Result<nlohmann::ordered_json, Refusal> wait_for(Session& session, const std::string& sweep);

}  // namespace orch::orchctl
