#include "base/template/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <unordered_set>

#include "base/text.h"
#include "base/units.h"

namespace orch::tmpl {

Taken::Taken(const Arguments& arguments, std::string what, std::initializer_list<std::string_view> parameters)
    : what_(std::move(what)), parameters_(parameters), found_(parameters.size(), nullptr) {
  if (arguments.values.size() > found_.size())
    throw Fault{
        what_ + " takes " +
        (found_.empty() ? "no arguments" : "at most " + counted(static_cast<long long>(found_.size()), "argument")) +
        ", not " + std::to_string(arguments.values.size())};
  for (std::size_t i = 0; i < arguments.values.size(); ++i) found_[i] = &arguments.values[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(parameters_.begin(), parameters_.end(), name);
    if (at == parameters_.end()) {
      const std::vector<std::string> known(parameters_.begin(), parameters_.end());
      throw Fault{what_ + " takes no argument " + quote(name) + hint(name, known)};
    }
    const Value*& place = found_[static_cast<std::size_t>(at - parameters_.begin())];
    if (place) throw Fault{what_ + " is given " + quote(name) + " twice"};
    place = &value;
  }
}

const Value& Taken::need(std::size_t i) const {
  if (!found_[i]) throw Fault{what_ + " needs the argument " + quote(parameters_[i])};
  return *found_[i];
}

const std::string& Taken::need_text(std::size_t i) const {
  const Value& value = need(i);
  if (value.is_undefined()) throw Fault{value.why_undefined()};
  if (!value.is_text()) throw Fault{what_ + ": " + quote(parameters_[i]) + " is a text, not " + kind_of(value)};
  return value.as_text();
}

std::string Taken::text(std::size_t i, std::string otherwise) const {
  return found_[i] ? need_text(i) : std::move(otherwise);
}

std::int64_t Taken::integer(std::size_t i, std::int64_t otherwise) const {
  if (!found_[i]) return otherwise;
  if (!found_[i]->is_integer() && !found_[i]->is_bool())
    throw Fault{what_ + ": " + quote(parameters_[i]) + " is an integer, not " + kind_of(*found_[i])};
  return found_[i]->as_integer();
}

bool Taken::flag(std::size_t i, bool otherwise) const { return found_[i] ? truth(*found_[i]) : otherwise; }

void Budget::spend(std::size_t steps) {
  if (steps > options_.most_steps || steps_ > options_.most_steps - steps)
    throw Fault{"rendering takes more than " +
                grouped(static_cast<long long>(std::min<std::size_t>(options_.most_steps, INT64_MAX))) + " steps"};
  steps_ += steps;
}

void Budget::check_size(std::size_t bytes) const {
  if (bytes > options_.most_output)
    throw Fault{"a text would be longer than " + std::to_string(options_.most_output) + " bytes"};
}

Value Budget::text(std::string text) {
  check_size(text.size());
  spend(1 + text.size() / 64);
  return Value::text(std::move(text));
}

bool Budget::refuses(const Value& undefined) const {
  if (!options_.strict) return false;
  return options_.escape == Options::Escape::kShell || !undefined.get<std::shared_ptr<const Undefined>>()->is_silent;
}

std::string Budget::printed(const Value& value) {
  if (value.is_undefined() && refuses(value)) throw Fault{value.why_undefined()};
  spend(value.weight());
  return to_text(value, options_.most_output);
}

std::vector<Value> Budget::items(const Value& value) {
  std::vector<Value> out;
  if (value.is_list()) {
    spend(value.as_list().items.size());
    return value.as_list().items;
  }
  if (value.is_dict()) {
    spend(value.as_dict().entries.size());
    for (const auto& [key, held] : value.as_dict().entries) out.push_back(key);
    return out;
  }
  if (value.is_text()) {
    spend(value.as_text().size());
    for (std::string_view point : code_points(value.as_text())) out.push_back(Value::text(std::string(point)));
    return out;
  }
  if (value.is_undefined()) {
    if (refuses(value)) throw Fault{value.why_undefined()};
    return out;
  }
  if (value.holds<std::shared_ptr<const Loop>>()) return value.get<std::shared_ptr<const Loop>>()->items;
  throw Fault{kind_of(value) + " holds no items to go through"};
}

bool Budget::equals(const Value& a, const Value& b) {
  spend(std::min(a.weight(), b.weight()));
  return equal(a, b);
}

int Budget::order(const Value& a, const Value& b) {
  spend(std::min(a.weight(), b.weight()));
  return compare(a, b);
}

bool Budget::contains(const Value& container, const Value& item) {
  if (container.is_text()) {
    if (item.is_undefined()) throw Fault{item.why_undefined()};
    if (!item.is_text()) throw Fault{"only a text can be in a text, not " + kind_of(item)};
    search(container.as_text(), item.as_text());
    return container.as_text().find(item.as_text()) != std::string::npos;
  }
  if (container.is_dict()) return container.as_dict().find(item) != nullptr;
  if (container.is_list())
    return std::any_of(container.as_list().items.begin(), container.as_list().items.end(),
                       [&](const Value& held) { return equals(held, item); });
  if (container.is_undefined()) {
    if (refuses(container)) throw Fault{container.why_undefined()};
    return false;
  }
  throw Fault{"nothing can be in " + kind_of(container)};
}

Value item_of(const Value& value, const Value& key, Budget& budget) {
  if (value.is_undefined()) throw Fault{value.why_undefined()};
  if (key.is_undefined()) throw Fault{key.why_undefined()};
  if (value.is_dict()) {
    if (key.is_text()) budget.spend(1 + key.as_text().size() / 64);
    if (const Value* found = value.as_dict().find(key)) return *found;
  }
  if (value.holds<std::shared_ptr<Namespace>>() && key.is_text()) return attribute_of(value, key.as_text(), budget);
  if (key.is_integer() || key.is_bool()) {
    std::int64_t at = key.as_integer();
    const auto place = [&](std::size_t count) -> std::optional<std::size_t> {
      const auto size = static_cast<std::int64_t>(count);
      if (at < 0) at += size;
      if (at < 0 || at >= size) return std::nullopt;
      return static_cast<std::size_t>(at);
    };
    if (value.is_list()) {
      if (const auto i = place(value.as_list().items.size())) return value.as_list().items[*i];
    } else if (value.is_text()) {
      budget.spend(value.as_text().size() / 8 + 1);
      const auto points = code_points(value.as_text());
      if (const auto i = place(points.size())) return Value::text(std::string(points[*i]));
    }
  }
  if (key.is_text() && has_method(value, key.as_text()))
    return Value(Value::Held(std::make_shared<const Method>(Method{value, key.as_text()})));
  const std::string name = key.is_text() ? quote(key.as_text()) : key.is_number() ? to_text(key, 100) : kind_of(key);
  std::string what = kind_of(value) + " has no item " + name;
  if (value.is_dict() && key.is_text()) {
    std::vector<std::string> known;
    budget.spend(20);
    for (const auto& [other, held] : value.as_dict().entries)
      if (other.is_text() && known.size() < 20) known.push_back(other.as_text());
    what = "there is no " + name + " in this map" + hint(key.as_text().substr(0, 100), known);
  }
  return Value::undefined(std::move(what));
}

Value attribute_of(const Value& value, const std::string& name, Budget& budget) {
  if (value.is_undefined()) throw Fault{value.why_undefined()};
  if (value.holds<std::shared_ptr<Namespace>>()) {
    if (const Value* found = value.get<std::shared_ptr<Namespace>>()->fields.find(name)) return *found;
    return Value::undefined("the namespace has no field " + quote(name));
  }
  if (value.holds<std::shared_ptr<const Loop>>()) {
    const auto& held = value.get<std::shared_ptr<const Loop>>();
    const Loop& loop = *held;
    const auto size = static_cast<std::int64_t>(loop.items.size()), index = static_cast<std::int64_t>(loop.index);
    if (name == "index") return Value::integer(index + 1);
    if (name == "index0") return Value::integer(index);
    if (name == "revindex") return Value::integer(size - index);
    if (name == "revindex0") return Value::integer(size - index - 1);
    if (name == "first") return Value::boolean(index == 0);
    if (name == "last") return Value::boolean(index + 1 == size);
    if (name == "length") return Value::integer(size);
    if (name == "depth") return Value::integer(1);
    if (name == "depth0") return Value::integer(0);
    if (name == "previtem")
      return index > 0 ? loop.items[loop.index - 1] : Value::undefined("there is no item before the first");
    if (name == "nextitem")
      return index + 1 < size ? loop.items[loop.index + 1] : Value::undefined("there is no item after the last");
    if (name == "cycle" || name == "changed")
      return Value(Value::Held(std::make_shared<const Method>(Method{value, name})));
    return Value::undefined("the loop has no " + quote(name));
  }
  if (has_method(value, name)) return Value(Value::Held(std::make_shared<const Method>(Method{value, name})));
  return item_of(value, Value::text(name), budget);
}

std::string stripped(std::string_view text, const Value& characters, bool left, bool right) {
  std::unordered_set<std::string_view> wanted;
  const bool blanks = !characters.is_text();
  if (!blanks)
    for (std::string_view point : code_points(characters.as_text())) wanted.insert(point);
  const auto goes = [&](std::string_view point) { return blanks ? is_blank(point) : wanted.count(point) != 0; };
  const auto points = code_points(text);
  std::size_t from = 0, to = points.size();
  while (left && from < to && goes(points[from])) ++from;
  while (right && to > from && goes(points[to - 1])) --to;
  if (from == to) return {};
  const char* begin = points[from].data();
  return std::string(begin, static_cast<std::size_t>(points[to - 1].data() + points[to - 1].size() - begin));
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                     Budget& budget) {
  std::string out;
  const auto put = [&](std::string_view part) {
    budget.check_size(out.size() + part.size());
    out += part;
  };
  if (from.empty()) {
    for (std::string_view point : code_points(text)) {
      if (most != 0) put(to);
      if (most > 0) --most;
      put(point);
    }
    if (most != 0) put(to);
    return out;
  }
  budget.search(text, from);
  while (most != 0) {
    const std::size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    put(text.substr(0, at));
    put(to);
    text.remove_prefix(at + from.size());
    if (most > 0) --most;
  }
  put(text);
  return out;
}

namespace {

using Filter = std::function<Value(const Value&, const Arguments&, Budget&)>;
using Test = std::function<bool(const Value&, const Arguments&, Budget&)>;

/// `a.b.0` of an item, as the filters' argument `attribute` has it.
Value by_path(const Value& item, const Value& path, Budget& budget) {
  if (path.is_integer()) return item_of(item, path, budget);
  if (!path.is_text()) throw Fault{"an attribute is named by a text, not by " + kind_of(path)};
  Value value = item;
  for (std::string_view part : split(path.as_text(), '.')) {
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    budget.spend(1);
    value = number ? item_of(value, Value::integer(std::stoll(std::string(part))), budget)
                   : item_of(value, Value::text(std::string(part)), budget);
  }
  return value;
}

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
  return Value::list(std::move(out));
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

Value sum_of(const Value& value, const Arguments& arguments, Budget& budget);

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

Value mapped(const Value& value, const Arguments& arguments, Budget& budget) {
  std::vector<Value> out;
  if (arguments.values.empty()) {
    const Taken taken(arguments, "map", {"attribute", "default"});
    for (const Value& item : budget.items(value)) {
      Value found = by_path(item, taken.need(0), budget);
      out.push_back(found.is_undefined() && taken.has(1) ? taken.need(1) : std::move(found));
    }
    return Value::list(std::move(out));
  }
  const std::string& name = text_argument(arguments, 0, "the name of the filter to map");
  if (!is_filter(name)) throw Fault{"no filter " + quote(name) + hint(name, filter_names())};
  // A filter that maps a filter that maps … would nest without an end of the template in sight.
  if (name == "map") throw Fault{"map does not map itself; use a loop"};
  const Arguments rest = without_first(arguments, 1);
  for (const Value& item : budget.items(value)) {
    budget.spend(1);
    out.push_back(apply_filter(name, item, rest, budget));
  }
  return Value::list(std::move(out));
}

Value chosen(const Value& value, const Arguments& arguments, Budget& budget, bool by_attribute, bool wanted) {
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
  return Value::list(std::move(out));
}

/// Joins in the meaning of Jinja: anything printable, not only texts.
Value joined(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "join", {"d", "attribute"});
  const std::string separator = taken.has(0) ? budget.printed(taken.need(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : budget.items(value)) {
    if (!first) out += separator;
    first = false;
    out += budget.printed(taken.has(1) ? by_path(item, taken.need(1), budget) : item);
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

/// int(text) of Python: blanks around, a sign, digits grouped by single underscores.
std::optional<std::int64_t> integer_in(std::string_view text, int base) {
  text = trim(text);
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (base != 10 && text.size() > 2 && text[0] == '0') {
    const char mark = lower(text.substr(1, 1))[0];
    if ((base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b')) text.remove_prefix(2);
  }
  std::int64_t value = 0;
  bool digit_before = false;
  for (char c : text) {
    if (c == '_' && digit_before) {
      digit_before = false;
      continue;
    }
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 10
                      : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                                             : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, digit, &value))
      throw Fault{"the integer " + quote(text) + " does not fit into 64 bits"};
    digit_before = true;
  }
  if (!digit_before) return std::nullopt;
  if (negative) return value;
  if (value == INT64_MIN) throw Fault{"the integer " + quote(text) + " does not fit into 64 bits"};
  return -value;
}

std::optional<double> float_in(std::string_view text) {
  text = trim(text);
  std::string plain = lower(text);
  if (plain.find("0x") != std::string::npos || plain.find('(') != std::string::npos) return std::nullopt;
  std::string_view digits = plain;
  if (!digits.empty() && digits[0] == '+') digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '+') return std::nullopt;
  double value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (read.ptr != digits.data() + digits.size() || read.ec == std::errc::invalid_argument) return std::nullopt;
  return value;
}

Value whole(double number) {
  if (!std::isfinite(number)) throw Fault{"a number without end has no integer part"};
  if (std::fabs(number) >= 9.2e18) throw Fault{"the number " + float_text(number) + " does not fit into 64 bits"};
  return Value::integer(static_cast<std::int64_t>(number));
}

Value to_integer(const Value& value, const Arguments& arguments, Budget&) {
  const Taken taken(arguments, "int", {"default", "base"});
  const Value otherwise = taken.value(0, Value::integer(0));
  if (value.is_undefined()) return otherwise;
  if (value.is_float()) return std::isfinite(value.as_double()) ? whole(value.as_double()) : otherwise;
  if (value.is_number()) return Value::integer(value.as_integer());
  if (!value.is_text()) return otherwise;
  const std::int64_t base = taken.integer(1, 10);
  if (base < 2 || base > 36) throw Fault{"int: a base lies between 2 and 36"};
  if (const auto number = integer_in(value.as_text(), static_cast<int>(base))) return Value::integer(*number);
  const auto number = float_in(value.as_text());
  return number && std::isfinite(*number) ? whole(*number) : otherwise;
}

Value to_float(const Value& value, const Arguments& arguments, Budget&) {
  const Taken taken(arguments, "float", {"default"});
  if (value.is_number()) return Value::number(value.as_double());
  if (value.is_text())
    if (const auto number = float_in(value.as_text())) return Value::number(*number);
  return taken.value(0, Value::number(0.0));
}

Value rounded(const Value& value, const Arguments& arguments, Budget&) {
  const Taken taken(arguments, "round", {"precision", "method"});
  if (value.is_undefined()) throw Fault{value.why_undefined()};
  if (!value.is_number()) throw Fault{"round takes a number, not " + kind_of(value)};
  const std::int64_t digits = taken.integer(0, 0);
  const std::string method = taken.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor")
    throw Fault{"round: 'method' is 'common', 'ceil' or 'floor', not " + quote(method)};
  if (digits < -300 || digits > 300) throw Fault{"round: 'precision' lies between -300 and 300"};
  const double number = value.as_double();
  if (method == "common") {
    if (!value.is_float() && digits >= 0) return Value::integer(value.as_integer());
    if (!std::isfinite(number)) return value;
    if (digits >= 0) {
      char buffer[700];
      std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), number);
      return Value::number(float_in(buffer).value_or(number));
    }
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    const double nearest_even = std::nearbyint(number / scale) * scale;
    return value.is_float() ? Value::number(nearest_even) : whole(nearest_even);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = number * scale;
  return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value sum_of(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "sum", {"attribute", "start"});
  Value total = taken.value(1, Value::integer(0));
  if (!total.is_number()) throw Fault{"sum: 'start' is a number, not " + kind_of(total)};
  for (const Value& item : budget.items(value)) {
    const bool by = taken.has(0) && !taken.need(0).is_none();
    const Value part = by ? by_path(item, taken.need(0), budget) : item;
    if (part.is_undefined()) throw Fault{part.why_undefined()};
    if (!part.is_number()) throw Fault{"sum adds numbers, not " + kind_of(part)};
    if (part.is_float() || total.is_float()) {
      total = Value::number(total.as_double() + part.as_double());
    } else {
      std::int64_t sum = 0;
      if (__builtin_add_overflow(total.as_integer(), part.as_integer(), &sum))
        throw Fault{"the sum does not fit into 64 bits"};
      total = Value::integer(sum);
    }
  }
  return total;
}

Value indented(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "indent", {"width", "first", "blank"});
  std::string pad;
  if (taken.has(0) && taken.need(0).is_text()) {
    pad = taken.need(0).as_text();
  } else {
    const std::int64_t width = taken.integer(0, 4);
    budget.check_size(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)));
    pad.assign(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  const bool first = taken.flag(1, false), blank = taken.flag(2, false);
  const std::string text = budget.printed(value);
  std::string out;
  std::size_t line = 0;
  for (std::string_view part : split(text, '\n')) {
    if (line > 0) out += '\n';
    if ((line > 0 || first) && ((line == 0 && first) || blank || !part.empty())) out += pad;
    ++line;
    out += part;
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

Value json_text(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "tojson", {"indent", "ensure_ascii", "sort_keys", "separators"});
  JsonStyle style;
  style.html = budget.options().html_json;
  style.sort_keys = taken.flag(2, style.html);
  style.ascii = taken.flag(1, style.html);
  if (taken.has(0) && !taken.need(0).is_none())
    style.indent = static_cast<int>(std::clamp<std::int64_t>(taken.integer(0, 0), 0, 64));
  style.item_separator = style.indent < 0 ? ", " : ",";
  style.key_separator = ": ";
  if (taken.has(3) && !taken.need(3).is_none()) {
    const Value& pair = taken.need(3);
    if (!pair.is_list() || pair.as_list().items.size() != 2 || !pair.as_list().items[0].is_text() ||
        !pair.as_list().items[1].is_text())
      throw Fault{"tojson: 'separators' are two texts"};
    style.item_separator = pair.as_list().items[0].as_text();
    style.key_separator = pair.as_list().items[1].as_text();
  }
  budget.spend(value.weight());
  return budget.text(to_json(value, style, budget.most()));
}

Value length_of(const Value& value, Budget& budget) {
  if (value.is_text()) {
    budget.spend(value.weight());
    return Value::integer(static_cast<std::int64_t>(count_code_points(value.as_text())));
  }
  if (value.is_list()) return Value::integer(static_cast<std::int64_t>(value.as_list().items.size()));
  if (value.is_dict()) return Value::integer(static_cast<std::int64_t>(value.as_dict().entries.size()));
  if (value.holds<std::shared_ptr<const Loop>>()) return attribute_of(value, "length", budget);
  if (value.is_undefined()) {
    if (budget.refuses(value)) throw Fault{value.why_undefined()};
    return Value::integer(0);
  }
  throw Fault{kind_of(value) + " has no length"};
}

Value titled(const std::string& text, Budget& budget) {
  // Jinja's own: words begin after blanks, hyphens and opening brackets, not after an apostrophe.
  std::string out, word;
  const auto flush = [&] {
    out += capitalized(word);
    word.clear();
  };
  for (std::string_view point : code_points(text)) {
    const bool between =
        is_blank(point) || point == "-" || point == "(" || point == "{" || point == "[" || point == "<";
    if (between) {
      flush();
      out += point;
    } else {
      word += point;
    }
  }
  flush();
  return budget.text(std::move(out));
}

Value items_of(const Value& value) {
  if (value.is_undefined()) return Value::list({});
  if (!value.is_dict()) throw Fault{"items are of a map, not of " + kind_of(value)};
  std::vector<Value> out;
  for (const auto& [key, held] : value.as_dict().entries) out.push_back(Value::tuple({key, held}));
  return Value::list(std::move(out));
}

/// Each item as a word of bash, with blanks between.
Value words_of(const Value& value, Budget& budget) {
  if (!value.is_list()) throw Fault{"words takes a list, not " + kind_of(value)};
  std::string out;
  for (const Value& item : value.as_list().items) {
    if (item.is_undefined()) throw Fault{item.why_undefined()};
    if (!item.is_text() && !item.is_number())
      throw Fault{"words takes a list of texts and numbers; one item is " + kind_of(item)};
    const std::string text = budget.printed(item);
    if (text.find('\0') != std::string::npos)
      throw Fault{"an item holds a NUL byte, which no word of a shell can hold"};
    if (!out.empty()) out += ' ';
    out += shell_quote(text);
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

const std::map<std::string, Filter, std::less<>>& filters() {
  using A = const Arguments&;
  using V = const Value&;
  const auto none = [](A arguments, const char* name) { const Taken taken(arguments, name, {}); };
  static const std::map<std::string, Filter, std::less<>> kFilters = {
      {"length",
       [none](V v, A a, Budget& b) {
         none(a, "length");
         return length_of(v, b);
       }},
      {"count",
       [none](V v, A a, Budget& b) {
         none(a, "count");
         return length_of(v, b);
       }},
      {"trim",
       [](V v, A a, Budget& b) {
         const Taken taken(a, "trim", {"chars"});
         return b.text(stripped(b.printed(v), taken.value(0, Value()), true, true));
       }},
      {"upper",
       [none](V v, A a, Budget& b) {
         none(a, "upper");
         return b.text(upper_text(b.printed(v)));
       }},
      {"lower",
       [none](V v, A a, Budget& b) {
         none(a, "lower");
         return b.text(lower_text(b.printed(v)));
       }},
      {"capitalize",
       [none](V v, A a, Budget& b) {
         none(a, "capitalize");
         return b.text(capitalized(b.printed(v)));
       }},
      {"title",
       [none](V v, A a, Budget& b) {
         none(a, "title");
         return titled(b.printed(v), b);
       }},
      {"string",
       [none](V v, A a, Budget& b) {
         none(a, "string");
         return v.is_text() ? v : b.text(b.printed(v));
       }},
      {"safe",
       [none](V v, A a, Budget&) {
         none(a, "safe");
         return v;
       }},
      {"join", joined},
      {"default",
       [](V v, A a, Budget&) {
         const Taken taken(a, "default", {"default_value", "boolean"});
         return v.is_undefined() || (taken.flag(1, false) && !truth(v)) ? taken.value(0, Value::text("")) : v;
       }},
      {"first",
       [none](V v, A a, Budget& b) {
         none(a, "first");
         const auto items = b.items(v);
         return items.empty() ? Value::undefined("there is no first item: the list is empty") : items.front();
       }},
      {"last",
       [none](V v, A a, Budget& b) {
         none(a, "last");
         const auto items = b.items(v);
         return items.empty() ? Value::undefined("there is no last item: the list is empty") : items.back();
       }},
      {"tojson", json_text},
      {"replace",
       [](V v, A a, Budget& b) {
         const Taken taken(a, "replace", {"old", "new", "count"});
         const std::int64_t most = taken.has(2) && !taken.need(2).is_none() ? taken.integer(2, -1) : -1;
         return b.text(replaced(b.printed(v), b.printed(taken.need(0)), b.printed(taken.need(1)), most, b));
       }},
      {"int", to_integer},
      {"float", to_float},
      {"round", rounded},
      {"abs",
       [none](V v, A a, Budget&) {
         none(a, "abs");
         if (v.is_undefined()) throw Fault{v.why_undefined()};
         if (!v.is_number()) throw Fault{"abs takes a number, not " + kind_of(v)};
         if (v.is_float()) return Value::number(std::fabs(v.as_double()));
         if (v.as_integer() == INT64_MIN) throw Fault{"the result does not fit into 64 bits"};
         return Value::integer(std::abs(v.as_integer()));
       }},
      {"list",
       [none](V v, A a, Budget& b) {
         none(a, "list");
         return Value::list(b.items(v));
       }},
      {"reverse",
       [none](V v, A a, Budget& b) {
         none(a, "reverse");
         auto items = b.items(v);
         std::reverse(items.begin(), items.end());
         if (!v.is_text()) return Value::list(std::move(items));
         std::string out;
         for (const Value& item : items) out += item.as_text();
         return b.text(std::move(out));
       }},
      {"sort", sorted},
      {"dictsort", dict_sorted},
      {"unique", uniques},
      {"min", [](V v, A a, Budget& b) { return extreme("min", v, a, b, -1); }},
      {"max", [](V v, A a, Budget& b) { return extreme("max", v, a, b, 1); }},
      {"sum", sum_of},
      {"map", mapped},
      {"select", [](V v, A a, Budget& b) { return chosen(v, a, b, false, true); }},
      {"reject", [](V v, A a, Budget& b) { return chosen(v, a, b, false, false); }},
      {"selectattr", [](V v, A a, Budget& b) { return chosen(v, a, b, true, true); }},
      {"rejectattr", [](V v, A a, Budget& b) { return chosen(v, a, b, true, false); }},
      {"items",
       [none](V v, A a, Budget& b) {
         none(a, "items");
         b.spend(v.weight());
         return items_of(v);
       }},
      {"indent", indented},
      {"quote",
       [none](V v, A a, Budget& b) {
         none(a, "quote");
         if (!v.is_text() && !v.is_number())
           throw Fault{v.is_undefined() ? v.why_undefined() : "quote takes a text or a number, not " + kind_of(v)};
         const std::string text = b.printed(v);
         if (text.find('\0') != std::string::npos)
           throw Fault{"the text holds a NUL byte, which no word of a shell can hold"};
         return b.text(shell_quote(text));
       }},
      {"words",
       [none](V v, A a, Budget& b) {
         none(a, "words");
         return words_of(v, b);
       }},
  };
  return kFilters;
}

Filter filter_of(std::string_view name) {
  const auto found = filters().find(name == "d" ? std::string_view("default") : name);
  return found == filters().end() ? Filter() : found->second;
}

const std::map<std::string, Test, std::less<>>& tests() {
  using A = const Arguments&;
  using V = const Value&;
  const auto other = [](A arguments, const char* name) -> const Value& {
    if (arguments.values.size() != 1 || !arguments.named.empty())
      throw Fault{"the test " + quote(name) + " takes one value"};
    return arguments.values[0];
  };
  const auto rest = [other](V v, A a, const char* name) {
    V divisor = other(a, name);
    if (v.is_undefined()) throw Fault{v.why_undefined()};
    if (v.is_float() || !v.is_number() || divisor.is_float() || !divisor.is_number())
      throw Fault{"the test " + quote(name) + " is about integers"};
    if (divisor.as_integer() == 0) throw Fault{"division by zero"};
    return divisor.as_integer() == -1 ? 0 : v.as_integer() % divisor.as_integer();
  };
  const auto parity = [](V v, const char* name) {
    if (v.is_undefined()) throw Fault{v.why_undefined()};
    if (!v.is_integer() && !v.is_bool())
      throw Fault{"the test " + quote(name) + " is about integers, not " + kind_of(v)};
    return v.as_integer() % 2 != 0;
  };
  static const std::map<std::string, Test, std::less<>> kTests = {
      {"defined", [](V v, A, Budget&) { return !v.is_undefined(); }},
      {"undefined", [](V v, A, Budget&) { return v.is_undefined(); }},
      {"none", [](V v, A, Budget&) { return v.is_none(); }},
      {"string", [](V v, A, Budget&) { return v.is_text(); }},
      {"number", [](V v, A, Budget&) { return v.is_number(); }},
      {"integer", [](V v, A, Budget&) { return v.is_integer(); }},
      {"float", [](V v, A, Budget&) { return v.is_float(); }},
      {"boolean", [](V v, A, Budget&) { return v.is_bool(); }},
      {"mapping", [](V v, A, Budget&) { return v.is_dict(); }},
      {"sequence", [](V v, A, Budget&) { return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined(); }},
      {"iterable",
       [](V v, A, Budget&) {
         return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined() || v.holds<std::shared_ptr<const Loop>>();
       }},
      {"callable",
       [](V v, A, Budget&) {
         return v.holds<std::shared_ptr<const Macro>>() || v.holds<std::shared_ptr<const Method>>() ||
                v.holds<Builtin>();
       }},
      {"true", [](V v, A, Budget&) { return v.is_bool() && v.as_bool(); }},
      {"false", [](V v, A, Budget&) { return v.is_bool() && !v.as_bool(); }},
      {"odd", [parity](V v, A, Budget&) { return parity(v, "odd"); }},
      {"even", [parity](V v, A, Budget&) { return !parity(v, "even"); }},
      {"divisibleby", [rest](V v, A a, Budget&) { return rest(v, a, "divisibleby") == 0; }},
      {"eq", [other](V v, A a, Budget& b) { return b.equals(v, other(a, "eq")); }},
      {"ne", [other](V v, A a, Budget& b) { return !b.equals(v, other(a, "ne")); }},
      {"lt", [other](V v, A a, Budget& b) { return b.order(v, other(a, "lt")) < 0; }},
      {"le", [other](V v, A a, Budget& b) { return b.order(v, other(a, "le")) <= 0; }},
      {"gt", [other](V v, A a, Budget& b) { return b.order(v, other(a, "gt")) > 0; }},
      {"ge", [other](V v, A a, Budget& b) { return b.order(v, other(a, "ge")) >= 0; }},
      {"in", [other](V v, A a, Budget& b) { return b.contains(other(a, "in"), v); }},
      {"lower",
       [](V v, A, Budget& b) {
         const auto t = b.printed(v);
         return lower_text(t) == t && upper_text(t) != t;
       }},
      {"upper",
       [](V v, A, Budget& b) {
         const auto t = b.printed(v);
         return upper_text(t) == t && lower_text(t) != t;
       }},
  };
  return kTests;
}

std::string_view test_alias(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"equalto", "eq"}, {"lessthan", "lt"}, {"greaterthan", "gt"},
      {"None", "none"},  {"True", "true"},   {"False", "false"}};
  for (const auto& [alias, real] : kAliases)
    if (alias == name) return real;
  return name;
}

template <class Map>
std::vector<std::string> keys_of(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& entry : map) keys.push_back(entry.first);
  return keys;
}

}  // namespace

bool is_filter(std::string_view name) { return static_cast<bool>(filter_of(name)); }
bool is_test(std::string_view name) { return tests().count(test_alias(name)) != 0; }

const std::vector<std::string>& filter_names() {
  static const std::vector<std::string> kNames = keys_of(filters());
  return kNames;
}

const std::vector<std::string>& test_names() {
  static const std::vector<std::string> kNames = keys_of(tests());
  return kNames;
}

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  const Filter filter = filter_of(name);
  if (!filter) throw Fault{"no filter " + quote(name)};
  budget.spend(1);
  return filter(value, arguments, budget);
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  const auto found = tests().find(test_alias(name));
  if (found == tests().end()) throw Fault{"no test " + quote(name)};
  budget.spend(1);
  return found->second(value, arguments, budget);
}

}  // namespace orch::tmpl
