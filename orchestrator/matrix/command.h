// The program of a user's own that cells run: its words and its variables, with placeholders for the facts of the cell.
//
//   command: [python, train.py, --model, "{hf_id}", --seed, "{seed}", --out, "{out}"]
//
// {model} {hf_id} {task} {adapter}, {out}, the file for the metrics, {output}, the folder that it is in, and each
// setting by its name: {seed}, or {settings.seed}; `{{` and `}}` stand for the braces themselves.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch {
struct Catalog;
}

namespace orch::matrix {

struct Cell;
struct Expansion;
struct Stage;

/// A part of an argument: text as it is, or the name of a placeholder.
struct CommandPart {
  bool is_placeholder = false;
  std::string text;
  bool operator==(const CommandPart&) const = default;
};

/// The parts of one argument, or why its braces do not make sense.
Result<std::vector<CommandPart>> parse_argument(std::string_view argument);

/// The names that may stand between braces, those of settings aside.
std::span<const std::string> placeholder_names();

/// The placeholders of a stage's words and variables: `seed`, `settings.rank`.
std::set<std::string> placeholders_of(const Stage& stage);

/// Appends what a placeholder stands for; false: the cell has nothing for it.
using AppendValue = std::function<bool(std::string_view name, std::string& text)>;

/// One argument with its placeholders filled. What is filled in is never parsed again, so a brace in it is a brace.
Result<std::string> fill_argument(std::string_view argument, const AppendValue& append);

/// The argument vector with `values` in place of the placeholders.
Result<std::vector<std::string>> fill_command(std::span<const std::string> command,
                                              const std::map<std::string, std::string>& values);

/// As fill_command(), of the values of the variables.
Result<std::map<std::string, std::string>> fill_env(const std::map<std::string, std::string>& env,
                                                    const std::map<std::string, std::string>& values);

/// What the placeholders of the cell stand for, but the paths ({adapter}, {output}, {out}), which only the place
/// where it runs knows. Amounts are whole numbers: bytes, seconds.
std::map<std::string, std::string> placeholder_values(const Cell& cell, const Expansion& expansion,
                                                      const Catalog& catalog);

}  // namespace orch::matrix
