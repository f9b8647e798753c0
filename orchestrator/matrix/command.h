// The argument vector of a user's own program, with placeholders for the facts of the cell that it runs.
//
//   command: [python, train.py, --model, "{hf_id}", --seed, "{seed}", --out, "{output}"]
//
// {model} {hf_id} {task} {seed} {dtype} {settings.NAME} {adapter} {output}; `{{` and `}}` stand for the braces
// themselves.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::matrix {

/// A part of an argument: text as it is, or the name of a placeholder.
struct CommandPart {
  bool is_placeholder = false;
  std::string text;
  bool operator==(const CommandPart&) const = default;
};

/// The parts of one argument, or why its braces do not make sense.
Result<std::vector<CommandPart>> parse_argument(std::string_view argument);

/// The names that may stand between braces, `settings.NAME` aside.
std::span<const std::string> placeholder_names();

/// The argument vector with `values` in place of the placeholders. The values are never parsed again, so a brace in one
/// is a brace.
Result<std::vector<std::string>> fill_command(std::span<const std::string> command,
                                              const std::map<std::string, std::string>& values);

}  // namespace orch::matrix
