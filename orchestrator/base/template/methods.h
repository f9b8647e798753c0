// The methods of texts, maps, lists and loops (`x.name()`), with the meaning they have in Python.
#pragma once

#include <string>
#include <string_view>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// Whether texts, maps or lists have the method; those that would change a value in place are known too.
bool has_method(const Value& self, std::string_view name);
/// Whether it is a method that would change the value in place.
bool changes_in_place(const Value& self, std::string_view name);
Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget);

}  // namespace orch::tmpl
