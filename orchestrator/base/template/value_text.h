// Values written as texts: printed as Python does, and as JSON.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/template/value.h"

namespace orch::tmpl {

/// As str() in Python. Throws a Fault past `most` bytes.
std::string to_text(const Value& value, std::size_t most);

/// As repr() in Python. Throws a Fault past `most` bytes.
std::string to_repr(const Value& value, std::size_t most);

struct JsonStyle {
  std::optional<std::string> indent;  ///< before what is one level deeper; without it all stands on one line
  bool sort_keys = false;
  bool ascii = false;
  bool html = false;
  std::string item_separator;
  std::string key_separator;
};
/// As json.dumps() in Python. Throws a Fault past `most` bytes.
std::string to_json(const Value& value, const JsonStyle& style, std::size_t most);

/// As repr() of a float in Python.
std::string float_text(double value);

}  // namespace orch::tmpl
