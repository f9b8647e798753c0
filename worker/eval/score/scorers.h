// The scorers that task files name beyond exact_match and math: `code`, `function_call`, `choice_letter`, `anls`,
// `relaxed_accuracy`.
#pragma once

#include <optional>

#include "eval/evaluation.h"
#include "sandbox/python.h"

namespace orch::eval {

/// Programs that a model wrote are run in `sandbox`; without one, tasks that need it are refused. It must outlive the
/// scorers.
Scorers all_scorers(const sandbox::Sandbox* sandbox, const sandbox::Python& python = {});

/// Whether a task's answers are programs.
bool runs_programs(const Task& task);

}  // namespace orch::eval
