// Values written as texts: printed as Python does, and as JSON.
#pragma once

#include <cstddef>
#include <string>

#include "base/template/value.h"

namespace orch::tmpl {

/// As str() in Python. Throws a Fault past `most` bytes.
std::string to_text(const Value& value, std::size_t most);

struct JsonStyle {
  int indent = -1;  ///< none below 0
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
