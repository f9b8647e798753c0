// Tests (`x is name`), with the meaning they have in Jinja.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

bool is_test(std::string_view name);
const std::vector<std::string>& test_names();
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget);

}  // namespace orch::tmpl
