// Filters that act on lists, maps and what else has items: length, sort, map, select and their like.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/template/access.h"
#include "base/template/code_points.h"
#include "base/template/filter_tables.h"
#include "base/template/filters.h"
#include "base/template/value_tests.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

/// What a sorting filter compares: a text in small letters unless case counts.
Value sort_key(const Value& value, bool case_sensitive, Budget& budget) {
  if (case_sensitive || !value.is_text()) return value;
  return budget.text(lower_text(value.as_text()));
}

std::vector<std::size_t> sorted_order(const std::vector<std::vector<Value>>& keys, bool reverse, Budget& budget) {
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto less = [&](std::size_t a, std::size_t b) {
    for (std::size_t i = 0; i < keys[a].size(); ++i) {
      const int way = budget.order(keys[a][i], keys[b][i]);
      if (way != 0) return reverse ? way > 0 : way < 0;
    }
    return false;
  };
  // A number that is none has no place in an order, and std::stable_sort must not meet it.
  for (const auto& key : keys)
    for (const Value& value : key)
      if (value.is_float() && std::isnan(value.as_double()))
        throw Fault{"a value that is not a number cannot be sorted"};
  std::stable_sort(order.begin(), order.end(), less);
  return order;
}

Value sorted(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "sort", {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = taken.flag(1, false);
  const Value path = taken.value(2, Value());
  const auto items = budget.items(value);
  std::vector<std::vector<Value>> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    if (path.is_text()) {
      for (std::string_view part : split(path.as_text(), ','))
        key.push_back(sort_key(by_path(item, Value::text(std::string(part)), budget), case_sensitive, budget));
    } else if (path.is_integer()) {
      key.push_back(sort_key(by_path(item, path, budget), case_sensitive, budget));
    } else {
      key.push_back(sort_key(item, case_sensitive, budget));
    }
    keys.push_back(std::move(key));
  }
  std::vector<Value> out;
  for (std::size_t i : sorted_order(keys, taken.flag(0, false), budget)) out.push_back(items[i]);
  return Value::list(std::move(out));
}

Value dict_sorted(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "dictsort", {"case_sensitive", "by", "reverse"});
  if (!value.is_dict()) throw Fault{"dictsort sorts a map, not " + kind_of(value)};
  const std::string by = taken.text(1, "key");
  if (by != "key" && by != "value") throw Fault{"dictsort sorts by 'key' or 'value', not by " + quote(by)};
  std::vector<std::vector<Value>> keys;
  const auto& entries = value.as_dict().entries;
  for (const auto& [key, held] : entries)
    keys.push_back({sort_key(by == "key" ? key : held, taken.flag(0, false), budget)});
  std::vector<Value> out;
  for (std::size_t i : sorted_order(keys, taken.flag(2, false), budget))
    out.push_back(Value::tuple({entries[i].first, entries[i].second}));
  return Value::list(std::move(out));
}

Value uniques(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "unique", {"case_sensitive", "attribute"});
  std::unordered_set<std::string> seen;
  std::vector<Value> out;
  for (const Value& item : budget.items(value)) {
    const Value by = taken.has(1) ? by_path(item, taken.need(1), budget) : item;
    auto key = key_of(sort_key(by, taken.flag(0, false), budget));
    if (!key) throw Fault{kind_of(by) + " cannot be compared for unique"};
    if (seen.insert(std::move(*key)).second) out.push_back(item);
  }
  return budget.passing(std::move(out));
}

Value extreme(const char* name, const Value& value, const Arguments& arguments, Budget& budget, int way) {
  const Taken taken(arguments, name, {"case_sensitive", "attribute"});
  std::optional<Value> best, best_key;
  for (const Value& item : budget.items(value)) {
    Value key = sort_key(taken.has(1) ? by_path(item, taken.need(1), budget) : item, taken.flag(0, false), budget);
    if (best && budget.order(key, *best_key) * way <= 0) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("the list is empty");
}

Arguments without_first(const Arguments& arguments, std::size_t count) {
  Arguments rest;
  rest.values.assign(arguments.values.begin() + static_cast<std::ptrdiff_t>(std::min(count, arguments.values.size())),
                     arguments.values.end());
  rest.named = arguments.named;
  return rest;
}

const std::string& text_argument(const Arguments& arguments, std::size_t i, std::string_view what) {
  if (i >= arguments.values.size() || !arguments.values[i].is_text())
    throw Fault{std::string(what) + ", as a text, is missing"};
  return arguments.values[i].as_text();
}

/// Whether map, select and their like give nothing without a look at the value: in Jinja they do where it is false.
bool gives_nothing(const Value& value, const Budget& budget) { return budget.options().chat && !truth(value); }

Value attributes_of(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "map", {"attribute", "default"});
  std::vector<Value> out;
  for (const Value& item : budget.items(value)) {
    Value found = by_path(item, taken.need(0), budget);
    out.push_back(found.is_undefined() && taken.has(1) ? taken.need(1) : std::move(found));
  }
  return budget.passing(std::move(out));
}

Value mapped(const Value& value, const Arguments& arguments, Budget& budget) {
  if (gives_nothing(value, budget)) return budget.passing({});
  if (arguments.values.empty()) return attributes_of(value, arguments, budget);
  const std::string& name = text_argument(arguments, 0, "the name of the filter to map");
  if (!is_filter(name)) throw Fault{"no filter " + quote(name) + hint(name, filter_names())};
  // A filter that maps a filter that maps … would nest without an end of the template in sight.
  if (name == "map") throw Fault{"map does not map itself; use a loop"};
  const Arguments rest = without_first(arguments, 1);
  std::vector<Value> out;
  for (const Value& item : budget.items(value)) {
    budget.spend(1);
    out.push_back(apply_filter(name, item, rest, budget));
  }
  return budget.passing(std::move(out));
}

Value chosen(const Value& value, const Arguments& arguments, Budget& budget, bool by_attribute, bool wanted) {
  if (gives_nothing(value, budget)) return budget.passing({});
  std::size_t used = 0;
  Value path;
  if (by_attribute) {
    if (arguments.values.empty()) throw Fault{"the attribute to select by is missing"};
    path = arguments.values[used++];
  }
  std::string name;
  if (arguments.values.size() > used) {
    name = text_argument(arguments, used++, "the name of the test");
    if (!is_test(name)) throw Fault{"no test " + quote(name) + hint(name, test_names())};
  }
  const Arguments rest = without_first(arguments, used);
  std::vector<Value> out;
  for (const Value& item : budget.items(value)) {
    budget.spend(1);
    const Value seen = by_attribute ? by_path(item, path, budget) : item;
    if ((name.empty() ? truth(seen) : apply_test(name, seen, rest, budget)) == wanted) out.push_back(item);
  }
  return budget.passing(std::move(out));
}

Value length_of(const char* name, const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, name);
  if (value.is_text()) {
    budget.spend(value.weight());
    return Value::integer(static_cast<std::int64_t>(count_code_points(value.as_text())));
  }
  if (value.is_list()) return Value::integer(static_cast<std::int64_t>(value.as_list().items.size()));
  if (value.is_dict()) return Value::integer(static_cast<std::int64_t>(value.as_dict().entries.size()));
  if (value.loop()) return attribute_of(value, "length", budget);
  if (const View* view = value.view()) return Value::integer(static_cast<std::int64_t>(view->list.items.size()));
  if (value.is_undefined()) {
    budget.allow_undefined(value);
    return Value::integer(0);
  }
  throw Fault{kind_of(value) + " has no length"};
}

Value first_of(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "first");
  if (const Once* once = value.once(); once && once->at < once->list.items.size()) return once->list.items[once->at++];
  const auto items = budget.items(value);
  return items.empty() ? Value::undefined("there is no first item: the list is empty") : items.front();
}

Value last_of(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "last");
  if (value.once()) throw Fault{"last cannot begin at the end of " + kind_of(value)};
  const auto items = budget.items(value);
  return items.empty() ? Value::undefined("there is no last item: the list is empty") : items.back();
}

Value to_list(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "list");
  return Value::list(budget.items(value));
}

Value reversed(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "reverse");
  auto items = budget.items(value);
  std::reverse(items.begin(), items.end());
  if (value.once()) return Value::list(std::move(items));
  if (!value.is_text()) return budget.passing(std::move(items));
  std::string out;
  for (const Value& item : items) out += item.as_text();
  return budget.text(std::move(out)).as_safe(value.is_safe());
}

Value items_of(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "items");
  budget.spend(value.weight());
  if (value.is_undefined()) return budget.passing({});
  if (!value.is_dict()) throw Fault{"items are of a map, not of " + kind_of(value)};
  std::vector<Value> out;
  for (const auto& [key, held] : value.as_dict().entries) out.push_back(Value::tuple({key, held}));
  return budget.passing(std::move(out));
}

/// Lists of `linecount` items each, the last filled up.
Value batches(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "batch", {"linecount", "fill_with"});
  taken.need(0);
  const std::int64_t count = taken.integer(0, 1);
  if (count < 1 || count > 100'000) throw Fault{"batch: 'linecount' lies between 1 and 100,000"};
  std::vector<Value> out, line;
  for (const Value& item : budget.items(value)) {
    if (static_cast<std::int64_t>(line.size()) == count) out.push_back(Value::list(std::exchange(line, {})));
    line.push_back(item);
  }
  budget.spend(static_cast<std::size_t>(count));
  if (!line.empty() && taken.has_some(1)) line.resize(static_cast<std::size_t>(count), taken.need(1));
  if (!line.empty()) out.push_back(Value::list(std::move(line)));
  return budget.passing(std::move(out));
}

/// As many lists as `slices` says, of lengths that differ by one at most.
Value slices_of(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "slice", {"slices", "fill_with"});
  taken.need(0);
  const std::int64_t slices = taken.integer(0, 1);
  if (slices < 1 || slices > 100'000) throw Fault{"slice: 'slices' lies between 1 and 100,000"};
  budget.spend(static_cast<std::size_t>(slices));
  const auto items = budget.items(value);
  const std::size_t each = items.size() / static_cast<std::size_t>(slices);
  const std::size_t longer = items.size() % static_cast<std::size_t>(slices);
  std::vector<Value> out;
  auto from = items.begin();
  for (std::size_t i = 0; i < static_cast<std::size_t>(slices); ++i) {
    const auto to = from + static_cast<std::ptrdiff_t>(each + (i < longer ? 1 : 0));
    std::vector<Value> part(from, to);
    if (taken.has_some(1) && i >= longer) part.push_back(taken.need(1));
    out.push_back(Value::list(std::move(part)));
    from = to;
  }
  return budget.passing(std::move(out));
}

}  // namespace

std::span<const Filter> sequence_filters() {
  using A = const Arguments&;
  using V = const Value&;
  static constexpr std::array<Filter, 19> kFilters = {{
      {"length", [](V v, A a, Budget& b) { return length_of("length", v, a, b); }},
      {"count", [](V v, A a, Budget& b) { return length_of("count", v, a, b); }},
      {"first", first_of},
      {"last", last_of},
      {"list", to_list},
      {"reverse", reversed},
      {"items", items_of},
      {"sort", sorted},
      {"dictsort", dict_sorted},
      {"unique", uniques},
      {"min", [](V v, A a, Budget& b) { return extreme("min", v, a, b, -1); }},
      {"max", [](V v, A a, Budget& b) { return extreme("max", v, a, b, 1); }},
      {"map", mapped},
      {"batch", batches},
      {"slice", slices_of},
      {"select", [](V v, A a, Budget& b) { return chosen(v, a, b, false, true); }},
      {"reject", [](V v, A a, Budget& b) { return chosen(v, a, b, false, false); }},
      {"selectattr", [](V v, A a, Budget& b) { return chosen(v, a, b, true, true); }},
      {"rejectattr", [](V v, A a, Budget& b) { return chosen(v, a, b, true, false); }},
  }};
  return kFilters;
}

}  // namespace orch::tmpl
