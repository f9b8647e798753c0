#include "base/template/safe_text.h"

#include <vector>

#include "base/template/formatting.h"
#include "base/template/text_methods.h"

namespace orch::tmpl {

std::string escaped_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string escaped_value(const Value& value, Budget& budget) {
  std::string text = budget.printed(value);
  if (value.is_safe()) return text;
  budget.check_size(text.size());
  return escaped_text(text);
}

Value safe_text_method(const std::string& text, const std::string& name, const Arguments& given, Budget& budget) {
  Arguments escaped = given;
  if (name == "format") return budget.text(formatted(text, given, budget, true)).as_safe();
  if (name == "join" && !given.values.empty()) {
    std::vector<Value> parts;
    for (const Value& part : budget.items(given.values[0])) parts.push_back(budget.text(escaped_value(part, budget)));
    escaped.values[0] = Value::list(std::move(parts));
  }
  if (name == "replace" && given.values.size() > 1)
    escaped.values[1] = budget.text(escaped_value(given.values[1], budget));
  const Value made = text_method(text, name, escaped, budget);
  if (made.is_text()) return made.as_safe();
  if (!made.is_list()) return made;
  std::vector<Value> parts;
  for (const Value& part : made.as_list().items) parts.push_back(part.as_safe());
  return made.as_list().is_tuple ? Value::tuple(std::move(parts)) : Value::list(std::move(parts));
}

}  // namespace orch::tmpl
