// The filters by what they act on: a table each, which filters.cpp joins. For the filters' own files only.
#pragma once

#include <span>
#include <string_view>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

struct Filter {
  std::string_view name;
  Value (*apply)(const Value& value, const Arguments& arguments, Budget& budget);
};

std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> number_filters();

}  // namespace orch::tmpl
