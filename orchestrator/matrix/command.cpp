#include "matrix/command.h"

#include "base/text.h"

namespace orch::matrix {

std::span<const std::string> placeholder_names() {
  static const std::vector<std::string> names = {"model", "hf_id", "task", "seed", "dtype", "adapter", "output"};
  return names;
}

Result<std::vector<CommandPart>> parse_argument(std::string_view argument) {
  std::vector<CommandPart> parts;
  std::string plain;
  for (std::size_t at = 0; at < argument.size(); ++at) {
    const char c = argument[at];
    if (c != '{' && c != '}') {
      plain += c;
      continue;
    }
    if (at + 1 < argument.size() && argument[at + 1] == c) {
      plain += c;
      ++at;
      continue;
    }
    const std::size_t end = c == '{' ? argument.find('}', at) : std::string_view::npos;
    if (end == std::string_view::npos)
      return Error{std::string("a single '") + c + "' in " + quote(argument) + "; write '" + c + c +
                   "' for a brace that is meant as such"};
    if (!plain.empty()) parts.push_back({false, std::move(plain)});
    plain.clear();
    parts.push_back({true, std::string(argument.substr(at + 1, end - at - 1))});
    at = end;
  }
  if (!plain.empty()) parts.push_back({false, std::move(plain)});
  return parts;
}

Result<std::vector<std::string>> fill_command(std::span<const std::string> command,
                                              const std::map<std::string, std::string>& values) {
  std::vector<std::string> filled;
  for (const std::string& argument : command) {
    const auto parts = parse_argument(argument);
    if (!parts) return parts.error();
    std::string text;
    for (const CommandPart& part : *parts) {
      const auto value = part.is_placeholder ? values.find(part.text) : values.end();
      if (part.is_placeholder && value == values.end())
        return Error{"the cell has nothing for {" + shown(part.text) + "} in " + quote(argument)};
      text += part.is_placeholder ? value->second : part.text;
    }
    filled.push_back(std::move(text));
  }
  return filled;
}

}  // namespace orch::matrix
