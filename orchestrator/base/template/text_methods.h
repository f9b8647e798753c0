// The methods of texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

bool is_text_method(std::string_view name);
/// Of a name that is one.
Value text_method(const std::string& text, const std::string& name, const Arguments& given, Budget& budget);

/// As str.splitlines() in Python, into parts of the text.
std::vector<std::string_view> text_lines(std::string_view text, bool keep_ends);

/// Without the characters at its ends, given as a text; without white space when `characters` is no text.
std::string stripped(std::string_view text, const Value& characters, bool left, bool right);

/// As str.replace() in Python: at most `most` times, without a limit below 0.
std::string replaced(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                     Budget& budget);

}  // namespace orch::tmpl
