#include "base/template/value.h"

#include <algorithm>
#include <cmath>

#include "base/template/value_text.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::tmpl {
namespace {

void check_weight(std::size_t weight) {
  if (weight > kMostWeight)
    throw Fault{"a value holds more than " + grouped(static_cast<long long>(kMostWeight)) + " values"};
}

int compare_numbers(const Value& a, const Value& b) {
  if (!a.is_float() && !b.is_float()) {
    const std::int64_t x = a.as_integer(), y = b.as_integer();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  const double x = a.as_double(), y = b.as_double();
  return x < y ? -1 : x > y ? 1 : 0;
}

List made_list(std::vector<Value> items, bool is_tuple) {
  List list;
  for (const Value& item : items) {
    list.depth = std::max(list.depth, item.depth() + 1);
    list.weight += item.weight();
  }
  check_depth(list.depth);
  check_weight(list.weight);
  list.items = std::move(items);
  list.is_tuple = is_tuple;
  return list;
}

}  // namespace

Value Value::list(std::vector<Value> items) {
  return Value(Held(std::make_shared<const List>(made_list(std::move(items), false))));
}

Value Value::tuple(std::vector<Value> items) {
  return Value(Held(std::make_shared<const List>(made_list(std::move(items), true))));
}

Value Value::dict(Dict dict) {
  check_depth(dict.depth);
  check_weight(dict.weight);
  return Value(Held(std::make_shared<const Dict>(std::move(dict))));
}

Value Value::view(View view) {
  view.list = made_list(std::move(view.list.items), false);
  return Value(Held(std::make_shared<const View>(std::move(view))));
}

Value Value::once(std::vector<Value> items) {
  return Value(Held(std::make_shared<const Once>(Once{made_list(std::move(items), false)})));
}

int Value::depth() const {
  if (is_list()) return as_list().depth;
  if (is_dict()) return as_dict().depth;
  if (const Loop* held = loop()) return held->depth;
  if (const View* held = view()) return held->list.depth;
  if (const Once* held = once()) return held->list.depth;
  if (holds<std::shared_ptr<const Method>>()) return get<std::shared_ptr<const Method>>()->self.depth() + 1;
  return 0;
}

std::size_t Value::weight() const {
  if (is_text()) return 1 + as_text().size() / 64;
  if (is_list()) return as_list().weight;
  if (is_dict()) return as_dict().weight;
  if (const View* held = view()) return held->list.weight;
  if (const Once* held = once()) return held->list.weight;
  return 1;
}

const Value* Dict::find(const Value& key) const {
  const auto name = key_of(key);
  if (!name) return nullptr;
  const auto found = index.find(*name);
  return found == index.end() ? nullptr : &entries[found->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = index.find("s" + std::string(key));
  return found == index.end() ? nullptr : &entries[found->second].second;
}

void Dict::set(Value key, Value value) {
  auto name = key_of(key);
  if (!name) throw Fault{kind_of(key) + " cannot be the key of a map"};
  depth = std::max({depth, value.depth() + 1, key.depth() + 1});
  weight += key.weight() + value.weight();
  const auto [place, fresh] = index.try_emplace(std::move(*name), entries.size());
  if (fresh)
    entries.emplace_back(std::move(key), std::move(value));
  else
    entries[place->second].second = std::move(value);
}

std::string kind_of(const Value& value) {
  if (value.is_none()) return "none";
  if (value.is_undefined()) return "an undefined value";
  if (value.is_bool()) return "a truth value";
  if (value.is_integer()) return "an integer";
  if (value.is_float()) return "a number";
  if (value.is_text()) return "a text";
  if (value.is_list()) return value.as_list().is_tuple ? "a tuple" : "a list";
  if (value.is_dict()) return "a map";
  if (value.holds<std::shared_ptr<Namespace>>()) return "a namespace";
  if (value.holds<std::shared_ptr<const Macro>>()) return "a macro that is not called";
  if (value.loop()) return "the loop itself";
  if (value.once()) return "what a filter gives to go through once (| list makes a list of it)";
  if (const View* view = value.view()) {
    if (view->kind == View::Kind::kRange) return "a range";
    return view->kind == View::Kind::kKeys     ? "the keys of a map"
           : view->kind == View::Kind::kValues ? "the values of a map"
                                               : "the items of a map";
  }
  if (value.holds<std::shared_ptr<const Method>>())
    return "the method " + quote(value.get<std::shared_ptr<const Method>>()->name) + ", which is not called";
  return "a function that is not called";
}

std::optional<std::string> key_of(const Value& value) {
  if (value.is_text()) return "s" + value.as_text();
  if (value.is_none()) return "n";
  if (value.is_number()) {
    if (!value.is_float()) return "i" + std::to_string(value.as_integer());
    const double number = value.as_double();
    // 1 and 1.0 are one key.
    if (number == std::floor(number) && std::fabs(number) < 9e18)
      return "i" + std::to_string(static_cast<std::int64_t>(number));
    return "f" + float_text(number);
  }
  if (const View* view = value.view(); view && view->kind == View::Kind::kRange) {
    const auto& items = view->list.items;
    if (items.empty()) return "r";
    return "r" + std::to_string(items.front().as_integer()) + "," + std::to_string(items.back().as_integer()) + "," +
           std::to_string(items.size());
  }
  if (value.is_list() && value.as_list().is_tuple && value.weight() < 1000) {
    std::string key = "t";
    for (const Value& item : value.as_list().items) {
      const auto part = key_of(item);
      if (!part) return std::nullopt;
      key += std::to_string(part->size()) + ":" + *part;
    }
    return key;
  }
  return std::nullopt;
}

bool may_be_key(const Value& value) { return (!value.is_list() && !value.is_dict()) || key_of(value).has_value(); }

void need_defined(const Value& value) {
  if (value.is_undefined()) throw Fault{value.why_undefined()};
}

void check_depth(int depth) {
  if (depth > kMostValueDepth) throw Fault{"a value is nested more than " + std::to_string(kMostValueDepth) + " deep"};
}

bool truth(const Value& value) {
  if (value.is_none() || value.is_undefined()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_integer()) return value.as_integer() != 0;
  if (value.is_float()) return value.as_double() != 0;
  if (value.is_text()) return !value.as_text().empty();
  if (value.is_list()) return !value.as_list().items.empty();
  if (value.is_dict()) return !value.as_dict().entries.empty();
  if (const View* view = value.view()) return !view->list.items.empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.as_double() == b.as_double();
    return a.as_integer() == b.as_integer();
  }
  if (a.is_text() && b.is_text()) return a.as_text() == b.as_text();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    const List &x = a.as_list(), &y = b.as_list();
    return &x == &y || (x.is_tuple == y.is_tuple &&
                        std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal));
  }
  if (a.view() && b.view()) return a.view() == b.view() || (key_of(a) && key_of(a) == key_of(b));
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    if (&x == &y) return true;
    if (x.entries.size() != y.entries.size()) return false;
    return std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
      const Value* other = y.find(entry.first);
      return other && equal(entry.second, *other);
    });
  }
  if (a.holds<std::shared_ptr<Namespace>>() && b.holds<std::shared_ptr<Namespace>>())
    return a.get<std::shared_ptr<Namespace>>() == b.get<std::shared_ptr<Namespace>>();
  return false;
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_text() && b.is_text()) return a.as_text().compare(b.as_text());
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    const auto &x = a.as_list().items, &y = b.as_list().items;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  need_defined(a);
  need_defined(b);
  throw Fault{kind_of(a) + " and " + kind_of(b) + " have no order"};
}

Value from_json(const nlohmann::ordered_json& json, std::size_t& steps, int depth) {
  check_depth(depth);
  ++steps;
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return Value::boolean(json.get<bool>());
    case Type::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Type::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        throw Fault{"the number " + std::to_string(number) + " does not fit into 64 bits with a sign"};
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Type::number_float:
      return Value::number(json.get<double>());
    case Type::string:
      return Value::text(json.get_ref<const std::string&>());
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item, steps, depth + 1));
      return Value::list(std::move(items));
    }
    case Type::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) dict.set(Value::text(key), from_json(value, steps, depth + 1));
      return Value::dict(std::move(dict));
    }
    case Type::null:
    case Type::binary:
    case Type::discarded:
      break;
  }
  return {};
}

}  // namespace orch::tmpl
