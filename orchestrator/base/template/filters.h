// Filters (`x | name`), with the meaning they have in Jinja. The functions stand by what they act on: filters_text.cpp,
// filters_sequence.cpp, filters_number.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

bool is_filter(std::string_view name);
const std::vector<std::string>& filter_names();
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget);

}  // namespace orch::tmpl
