// What a program measured, from the file that it wrote.
//
// Holds: the file is as hostile as the program: it is bounded, every number is finite, every name is short text.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace orch::worker {

/// `{"acc": 0.71, "loss": {"value": 1.2, "stderr": 0.01}}` in the one form that the daemon keeps: every metric an
/// object with `value` and, where it is known, `stderr`; names in byte order.
Result<std::string> metrics_of(std::string_view json);

/// The same of a results file of lm-evaluation-harness: `acc,none` is `acc`, `acc_stderr,none` its standard error,
/// other filters stay in the name. With several tasks each name begins with its task. A number that is not finite,
/// which Python writes as NaN or Infinity, is left out.
Result<std::string> lm_eval_metrics_of(std::string_view json);

/// Reads `folder`/result.json, or for `lm-eval` the newest results_*.json below it; so it does for a command that wrote
/// no result.json, which may be a call of the harness.
Result<std::string> read_metrics(const std::filesystem::path& folder, const std::string& engine);

}  // namespace orch::worker
