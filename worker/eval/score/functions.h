// Whether a model called the functions that it should have, as the Berkeley Function Calling Leaderboard judges it by
// syntax (bfcl-eval 2026.3.23, `ast_checker`, for Python's functions; those for Java and JavaScript are not judged
// here).
//
// A possible answer is `{FUNCTION: {ARGUMENT: [VALUE, …]}}`: any of the values will do, and "" among them says that the
// argument may be left out. Texts are compared without case, blanks and , . / - _ * ^, and with one kind of quotation
// mark.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "eval/score/calls.h"

namespace orch::eval {

enum class CallTask {
  kSimple,       ///< one function, one call
  kMultiple,     ///< several functions, one call
  kParallel,     ///< one or several functions, several calls in any order
  kIrrelevance,  ///< no function helps: there must be no call
  kRelevance,    ///< there must be a call, whichever
};

/// Of the leaderboard's name of a category, `live_parallel_multiple`; an error where it is none of Python's.
Result<CallTask> call_task(std::string_view category);

struct Judged {
  bool right = false;
  std::string why;  ///< where it is not
};

/// `functions`: their descriptions, a list. `possible`: the ground truth, a list of possible answers.
/// `dots_as_lines`: the model was shown names with _ for . , as those are that take no dots.
Judged judge_calls(CallTask task, const nlohmann::ordered_json& functions, const Result<std::vector<Call>>& calls,
                   const nlohmann::ordered_json& possible, bool dots_as_lines = false);

}  // namespace orch::eval
