#include "base/template/value_tests.h"

#include <cmath>
#include <map>
#include <utility>

#include "base/template/code_points.h"
#include "base/template/filters.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

using A = const Arguments&;
using V = const Value&;
using Test = bool (*)(V, A, Budget&);

V other(A arguments, const char* name) {
  if (arguments.values.size() != 1 || !arguments.named.empty())
    throw Fault{"the test " + quote(name) + " takes one value"};
  return arguments.values[0];
}

/// What is left of a number when it is halved, from 0 to below 2.
double rest_of_half(V value, const char* name) {
  need_defined(value);
  if (!value.is_number()) throw Fault{"the test " + quote(name) + " is about numbers, not " + kind_of(value)};
  if (!value.is_float()) return value.as_integer() % 2 != 0 ? 1 : 0;
  const double rest = std::fmod(value.as_double(), 2);
  return rest < 0 ? rest + 2 : rest;
}

bool is_divisible(V value, A arguments, Budget&) {
  V divisor = other(arguments, "divisibleby");
  need_defined(value);
  if (value.is_float() || !value.is_number() || divisor.is_float() || !divisor.is_number())
    throw Fault{"the test 'divisibleby' is about integers"};
  if (divisor.as_integer() == 0) throw Fault{"division by zero"};
  // The remainder of the least integer by -1 overflows.
  return divisor.as_integer() == -1 || value.as_integer() % divisor.as_integer() == 0;
}

bool is_sequence(V value, A, Budget&) {
  const bool is_range = value.view() && value.view()->kind == View::Kind::kRange;
  return value.is_text() || value.is_list() || value.is_dict() || value.is_undefined() || is_range;
}

bool is_callable(V value, A, Budget&) {
  return value.holds<std::shared_ptr<const Macro>>() || value.holds<std::shared_ptr<const Method>>() ||
         value.holds<Builtin>() || value.loop() || value.is_undefined();
}

/// Whether it is the same thing in Python, which is known of those that there is one of.
bool is_same(V value, A arguments, Budget&) {
  V one = other(arguments, "sameas");
  if (value.is_none() || one.is_none()) return value.is_none() && one.is_none();
  if (value.is_bool() || one.is_bool()) return value.is_bool() && one.is_bool() && value.as_bool() == one.as_bool();
  throw Fault{"the test 'sameas' compares with none, true and false; use =="};
}

bool names(V value, A arguments, const char* what, bool (*is_known)(std::string_view)) {
  take_none(arguments, what);
  if (!may_be_key(value)) throw Fault{kind_of(value) + " is no name"};
  return value.is_text() && is_known(value.as_text());
}

bool is_lower(V value, A, Budget& budget) {
  const std::string text = budget.printed(value);
  return lower_text(text) == text && upper_text(text) != text;
}

bool is_upper(V value, A, Budget& budget) {
  const std::string text = budget.printed(value);
  return upper_text(text) == text && lower_text(text) != text;
}

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> kTests = {
      {"defined", [](V v, A, Budget&) { return !v.is_undefined(); }},
      {"undefined", [](V v, A, Budget&) { return v.is_undefined(); }},
      {"none", [](V v, A, Budget&) { return v.is_none(); }},
      {"string", [](V v, A, Budget&) { return v.is_text(); }},
      {"number", [](V v, A, Budget&) { return v.is_number(); }},
      {"integer", [](V v, A, Budget&) { return v.is_integer(); }},
      {"float", [](V v, A, Budget&) { return v.is_float(); }},
      {"boolean", [](V v, A, Budget&) { return v.is_bool(); }},
      {"mapping", [](V v, A, Budget&) { return v.is_dict(); }},
      {"sequence", is_sequence},
      {"iterable", [](V v, A a, Budget& b) { return is_sequence(v, a, b) || v.loop() || v.view() || v.once(); }},
      {"callable", is_callable},
      {"true", [](V v, A, Budget&) { return v.is_bool() && v.as_bool(); }},
      {"false", [](V v, A, Budget&) { return v.is_bool() && !v.as_bool(); }},
      {"odd", [](V v, A, Budget&) { return rest_of_half(v, "odd") == 1; }},
      {"even", [](V v, A, Budget&) { return rest_of_half(v, "even") == 0; }},
      {"divisibleby", is_divisible},
      {"eq", [](V v, A a, Budget& b) { return b.equals(v, other(a, "eq")); }},
      {"ne", [](V v, A a, Budget& b) { return !b.equals(v, other(a, "ne")); }},
      {"lt", [](V v, A a, Budget& b) { return b.order(v, other(a, "lt")) < 0; }},
      {"le", [](V v, A a, Budget& b) { return b.order(v, other(a, "le")) <= 0; }},
      {"gt", [](V v, A a, Budget& b) { return b.order(v, other(a, "gt")) > 0; }},
      {"ge", [](V v, A a, Budget& b) { return b.order(v, other(a, "ge")) >= 0; }},
      {"in", [](V v, A a, Budget& b) { return b.contains(other(a, "in"), v); }},
      {"lower", is_lower},
      {"upper", is_upper},
      {"sameas", is_same},
      {"escaped", [](V v, A, Budget&) { return v.is_safe(); }},
      {"filter", [](V v, A a, Budget&) { return names(v, a, "filter", is_filter); }},
      {"test", [](V v, A a, Budget&) { return names(v, a, "test", is_test); }},
  };
  return kTests;
}

Test find_test(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"equalto", "eq"}, {"lessthan", "lt"}, {"greaterthan", "gt"},
      {"None", "none"},  {"True", "true"},   {"False", "false"}};
  for (const auto& [alias, real] : kAliases)
    if (alias == name) name = real;
  const auto found = tests().find(name);
  return found == tests().end() ? nullptr : found->second;
}

}  // namespace

bool is_test(std::string_view name) { return find_test(name) != nullptr; }

const std::vector<std::string>& test_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, test] : tests()) names.emplace_back(name);
    return names;
  }();
  return kNames;
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  const Test test = find_test(name);
  if (!test) throw Fault{"no test " + quote(name) + hint(name, test_names())};
  budget.spend(1);
  return test(value, arguments, budget);
}

}  // namespace orch::tmpl
