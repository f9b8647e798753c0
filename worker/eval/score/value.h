// Values as a function call of a model holds them: Python's, of which JSON's are a part.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orch::eval {

struct Value;
struct Entry;
using Values = std::vector<Value>;

struct Tuple {
  Values items;
};

/// In the order of writing, each key once.
struct Dict {
  std::vector<Entry> entries;

  void set(Value key, Value value);
  const Value* find(const std::string& key) const;
};

struct Value {
  using Held = std::variant<std::monostate, bool, std::int64_t, double, std::string, Values, Tuple, Dict>;
  Held held;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&held);
  }
  /// Whether both are of one type, as Python's type() tells them.
  bool is_like(const Value& other) const { return held.index() == other.held.index(); }
};

struct Entry {
  Value key, value;
};

/// Python's ==: numbers and truth values by what they count, a list is no tuple.
bool equal(const Value& a, const Value& b);

/// Nesting that is read, of values and of calls.
inline constexpr int kMostDepth = 64;

/// Nothing: it is nested too deeply, or a number is too large.
std::optional<Value> value_of(const nlohmann::ordered_json& json, int depth = kMostDepth);

}  // namespace orch::eval
