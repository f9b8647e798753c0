#include "eval/score/value.h"

#include <algorithm>
#include <utility>

namespace orch::eval {
namespace {

/// What a number or truth value counts; nothing for others.
struct Number {
  bool whole = false;
  std::int64_t integer = 0;
  double real = 0;
};

std::optional<Number> number_of(const Value& value) {
  if (const auto* truth = value.as<bool>()) return Number{true, *truth ? 1 : 0, *truth ? 1.0 : 0.0};
  if (const auto* integer = value.as<std::int64_t>()) return Number{true, *integer, static_cast<double>(*integer)};
  if (const auto* real = value.as<double>()) return Number{false, 0, *real};
  return std::nullopt;
}

bool equal_items(const Values& a, const Values& b) { return std::ranges::equal(a, b, equal); }

}  // namespace

void Dict::set(Value key, Value value) {
  for (auto& [name, held] : entries)
    if (equal(name, key)) {
      held = std::move(value);
      return;
    }
  entries.push_back({std::move(key), std::move(value)});
}

const Value* Dict::find(const std::string& key) const {
  for (const auto& [name, value] : entries)
    if (const auto* text = name.as<std::string>(); text && *text == key) return &value;
  return nullptr;
}

bool equal(const Value& a, const Value& b) {
  if (const auto left = number_of(a), right = number_of(b); left && right)
    return left->whole && right->whole ? left->integer == right->integer : left->real == right->real;
  if (!a.is_like(b)) return false;
  if (const auto* text = a.as<std::string>()) return *text == *b.as<std::string>();
  if (const auto* list = a.as<Values>()) return equal_items(*list, *b.as<Values>());
  if (const auto* tuple = a.as<Tuple>()) return equal_items(tuple->items, b.as<Tuple>()->items);
  if (const auto* dict = a.as<Dict>()) {
    const auto& others = b.as<Dict>()->entries;
    return dict->entries.size() == others.size() && std::ranges::all_of(dict->entries, [&](const Entry& entry) {
             return std::ranges::any_of(others, [&](const Entry& other) {
               return equal(entry.key, other.key) && equal(entry.value, other.value);
             });
           });
  }
  return true;  // None
}

std::optional<Value> value_of(const nlohmann::ordered_json& json, int depth) {
  using Kind = nlohmann::ordered_json::value_t;
  if (depth == 0) return std::nullopt;
  switch (json.type()) {
    case Kind::null:
      return Value{};
    case Kind::boolean:
      return Value{json.get<bool>()};
    case Kind::number_integer:
      return Value{json.get<std::int64_t>()};
    case Kind::number_unsigned:
      if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return Value{json.get<std::int64_t>()};
    case Kind::number_float:
      return Value{json.get<double>()};
    case Kind::string:
      return Value{json.get<std::string>()};
    case Kind::array: {
      Values items;
      for (const auto& one : json) {
        auto item = value_of(one, depth - 1);
        if (!item) return std::nullopt;
        items.push_back(*std::move(item));
      }
      return Value{std::move(items)};
    }
    case Kind::object: {
      Dict dict;
      for (const auto& [key, one] : json.items()) {
        auto item = value_of(one, depth - 1);
        if (!item) return std::nullopt;
        dict.entries.push_back({Value{key}, *std::move(item)});
      }
      return Value{std::move(dict)};
    }
    default:
      return std::nullopt;
  }
}

}  // namespace orch::eval
