#include "base/template/filters.h"

#include <map>

#include "base/template/filter_tables.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

Value or_default(const Value& value, const Arguments& arguments, Budget&) {
  const Taken taken(arguments, "default", {"default_value", "boolean"});
  const bool replace = value.is_undefined() || (taken.flag(1, false) && !truth(value));
  return replace ? taken.value(0, Value::text("")) : value;
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> kFilters = [] {
    std::map<std::string_view, Filter> all = {{"default", {"default", or_default}}};
    for (const auto table : {text_filters(), sequence_filters(), number_filters()})
      for (const Filter& filter : table) all.emplace(filter.name, filter);
    return all;
  }();
  return kFilters;
}

const Filter* find_filter(std::string_view name) {
  const auto found = filters().find(name == "d" ? "default" : name);
  return found == filters().end() ? nullptr : &found->second;
}

}  // namespace

bool is_filter(std::string_view name) { return find_filter(name) != nullptr; }

const std::vector<std::string>& filter_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, filter] : filters()) names.emplace_back(name);
    return names;
  }();
  return kNames;
}

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  const Filter* filter = find_filter(name);
  if (!filter) throw Fault{"no filter " + quote(name) + hint(name, filter_names())};
  budget.spend(1);
  return filter->apply(value, arguments, budget);
}

}  // namespace orch::tmpl
