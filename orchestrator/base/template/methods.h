// The methods of texts, maps, lists and loops (`x.name()`), with the meaning they have in Python.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// Whether texts, maps or lists have the method; those that would change a value in place are known too.
bool has_method(const Value& self, std::string_view name);
Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget);

// Two that filters share.

/// Without `characters` at its ends; without white space when they are no text.
std::string stripped(std::string_view text, const Value& characters, bool left, bool right);
/// At most `most` times; below 0: every time.
std::string replaced(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                     Budget& budget);

}  // namespace orch::tmpl
