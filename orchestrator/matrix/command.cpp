#include "matrix/command.h"

#include <optional>

#include "base/text.h"
#include "matrix/expand.h"

namespace orch::matrix {
namespace {

/// Hands on the parts of an argument, in order; an empty text may be one. `placeholder` says whether to go on.
template <class Text, class Placeholder>
std::optional<Error> scan(std::string_view argument, Text text, Placeholder placeholder) {
  std::size_t at = 0;
  while (true) {
    const std::size_t brace = argument.find_first_of("{}", at);
    text(argument.substr(at, brace - at));
    if (brace == std::string_view::npos) return std::nullopt;
    const char c = argument[brace];
    if (brace + 1 < argument.size() && argument[brace + 1] == c) {
      text(argument.substr(brace, 1));
      at = brace + 2;
      continue;
    }
    const std::size_t end = c == '{' ? argument.find('}', brace) : std::string_view::npos;
    if (end == std::string_view::npos)
      return Error{std::string("a single '") + c + "' in " + quote(argument) + "; write '" + c + c +
                   "' for a brace that is meant as such"};
    if (auto error = placeholder(argument.substr(brace + 1, end - brace - 1))) return error;
    at = end + 1;
  }
}

AppendValue from(const std::map<std::string, std::string>& values) {
  return [&values](std::string_view name, std::string& text) {
    const auto found = values.find(std::string(name));
    if (found == values.end()) return false;
    text += found->second;
    return true;
  };
}

void add_placeholders(const std::string& argument, std::set<std::string>& names) {
  if (const auto parts = parse_argument(argument))
    for (const CommandPart& part : *parts)
      if (part.is_placeholder) names.insert(part.text);
}

}  // namespace

std::span<const std::string> placeholder_names() {
  static const std::vector<std::string> names = {"model", "hf_id", "task", "adapter", "output", "out"};
  return names;
}

Result<std::vector<CommandPart>> parse_argument(std::string_view argument) {
  std::vector<CommandPart> parts;
  const auto text = [&](std::string_view plain) {
    if (plain.empty()) return;
    if (!parts.empty() && !parts.back().is_placeholder)
      parts.back().text += plain;
    else
      parts.push_back({false, std::string(plain)});
  };
  const auto placeholder = [&](std::string_view name) -> std::optional<Error> {
    parts.push_back({true, std::string(name)});
    return std::nullopt;
  };
  if (auto error = scan(argument, text, placeholder)) return *error;
  return parts;
}

Result<std::string> fill_argument(std::string_view argument, const AppendValue& append) {
  std::string filled;
  const auto text = [&](std::string_view plain) { filled += plain; };
  const auto placeholder = [&](std::string_view name) -> std::optional<Error> {
    if (append(name, filled)) return std::nullopt;
    return Error{"the cell has nothing for {" + shown(name) + "} in " + quote(argument)};
  };
  if (auto error = scan(argument, text, placeholder)) return *error;
  return filled;
}

Result<std::vector<std::string>> fill_command(std::span<const std::string> command,
                                              const std::map<std::string, std::string>& values) {
  std::vector<std::string> filled;
  for (const std::string& argument : command) {
    auto text = fill_argument(argument, from(values));
    if (!text) return text.error();
    filled.push_back(*std::move(text));
  }
  return filled;
}

Result<std::map<std::string, std::string>> fill_env(const std::map<std::string, std::string>& env,
                                                    const std::map<std::string, std::string>& values) {
  std::map<std::string, std::string> filled;
  for (const auto& [name, value] : env) {
    auto text = fill_argument(value, from(values));
    if (!text) return text.error();
    filled.emplace(name, *std::move(text));
  }
  return filled;
}

std::set<std::string> placeholders_of(const Stage& stage) {
  std::set<std::string> names;
  for (const std::string& argument : stage.command) add_placeholders(argument, names);
  for (const auto& [name, value] : stage.env) add_placeholders(value, names);
  return names;
}

std::map<std::string, std::string> placeholder_values(const Cell& cell, const Expansion& expansion,
                                                      const Catalog& catalog) {
  std::map<std::string, std::string> values;
  for (const SettingDef& def : setting_defs())
    if (const auto off = text_of_off(def.name, cell.kind))
      values["settings." + std::string(def.name)] = values[std::string(def.name)] = *off;
  for (const auto& [name, value] : expansion.settings[cell.settings].values()) {
    values["settings." + name] = plain_text(value);
    values[name] = plain_text(value);
  }
  if (cell.model != kNone) {
    const Model& model = catalog.models[cell.model];
    values["model"] = model.name;
    if (!model.own) values["hf_id"] = model.hf_id;
  }
  if (cell.task != kNone) values["task"] = catalog.tasks[cell.task].name;
  return values;
}

}  // namespace orch::matrix
