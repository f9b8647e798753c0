// The values of a template while it is rendered, with the meaning they have in Python.
//
// Holds:
//  - Lists and maps never change once built and know their depth, so that printing, comparing and destroying them
//    recurses at most kMostValueDepth deep.
//  - What can hold itself (a namespace, the scope of a macro) is emptied by the renderer that made it.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace orch::tmpl {

constexpr int kMostValueDepth = 200;
/// A list that holds one list twice, which holds another twice, and so on, is small in memory and endless to walk.
constexpr std::size_t kMostWeight = 10'000'000;

/// What went wrong, before the place is known; becomes a TemplateError where the expression stands.
struct Fault {
  std::string what;
};

class Value;
struct List;
struct Dict;
struct Namespace;
struct Macro;
struct Loop;
struct Method;
struct View;
struct Once;
struct Node;
struct Scope;

/// A name or key that is not there: `what` says so in a sentence.
struct Undefined {
  std::string what;
  bool is_silent = false;  ///< prints as nothing even where others are errors: `x if condition` has no else in Jinja
};

/// The functions that every template has.
enum class Builtin { kRange, kNamespace, kDict, kRaise, kStrftimeNow };

class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  using Held = std::variant<std::monostate, bool, std::int64_t, double, Text, std::shared_ptr<const Undefined>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                            std::shared_ptr<const Macro>, std::shared_ptr<const Loop>, std::shared_ptr<const Method>,
                            std::shared_ptr<const View>, std::shared_ptr<const Once>, Builtin>;

  Value() = default;  ///< none
  static Value boolean(bool value) { return Value(Held(value)); }
  static Value integer(std::int64_t value) { return Value(Held(value)); }
  static Value number(double value) { return Value(Held(value)); }
  static Value text(std::string value) { return Value(Held(std::make_shared<const std::string>(std::move(value)))); }
  static Value undefined(std::string what, bool is_silent = false) {
    return Value(Held(std::make_shared<const Undefined>(Undefined{std::move(what), is_silent})));
  }
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value dict(Dict dict);
  static Value view(View view);
  static Value once(std::vector<Value> items);
  explicit Value(Held held) : held_(std::move(held)) {}

  bool is_none() const { return held_.index() == 0; }
  bool is_undefined() const { return holds<std::shared_ptr<const Undefined>>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_integer() const { return holds<std::int64_t>(); }
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_integer() || is_float(); }  ///< as in Python, truth values count
  bool is_text() const { return holds<Text>(); }
  bool is_list() const { return holds<std::shared_ptr<const List>>(); }  ///< or a tuple
  bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }

  /// Whether a text is marked as safe for HTML (safe_text.h); a text made of others is not, unless it is said.
  bool is_safe() const { return is_safe_; }
  /// The same text, marked.
  Value as_safe(bool safe = true) const {
    Value marked = *this;
    marked.is_safe_ = safe;
    return marked;
  }

  bool as_bool() const { return std::get<bool>(held_); }
  /// Of an integer or a truth value.
  std::int64_t as_integer() const { return is_bool() ? (as_bool() ? 1 : 0) : std::get<std::int64_t>(held_); }
  /// Of any number.
  double as_double() const { return is_float() ? std::get<double>(held_) : static_cast<double>(as_integer()); }
  const std::string& as_text() const { return *std::get<Text>(held_); }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(held_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(held_); }
  const std::string& why_undefined() const { return std::get<std::shared_ptr<const Undefined>>(held_)->what; }

  /// What `loop` is, or null.
  const Loop* loop() const {
    const auto* held = std::get_if<std::shared_ptr<const Loop>>(&held_);
    return held ? held->get() : nullptr;
  }

  /// Or null; so is once().
  const View* view() const {
    const auto* held = std::get_if<std::shared_ptr<const View>>(&held_);
    return held ? held->get() : nullptr;
  }
  const Once* once() const {
    const auto* held = std::get_if<std::shared_ptr<const Once>>(&held_);
    return held ? held->get() : nullptr;
  }

  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(held_);
  }
  template <class T>
  const T& get() const {
    return std::get<T>(held_);
  }

  int depth() const;
  /// How many values a walk over this one meets, texts counted by length: what comparing it costs.
  std::size_t weight() const;

 private:
  Held held_;
  bool is_safe_ = false;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;
  std::size_t weight = 1;
};

/// What Python has for a range and for the keys, values and items of a map: it is gone through, counted and searched,
/// but is no list.
struct View {
  enum class Kind { kRange, kKeys, kValues, kItems };
  Kind kind{};
  List list;
  std::int64_t from = 0, to = 0, step = 1;  ///< of a range
};

/// What Python has for the answer of filters such as map: it is gone through once, and is always true.
struct Once {
  List list;
  mutable std::size_t at = 0;  ///< of the first item that nobody has met
};

/// A map in the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string, std::size_t> index;  ///< from key_of() to the place in entries
  int depth = 1;
  std::size_t weight = 1;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
};

struct Namespace {
  Dict fields;
};

/// A method that was looked up and not yet called.
struct Method {
  Value self;
  std::string name;
};

/// What `loop` is in the body of a for.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  int depth = 1;
  int level = 0;                              ///< how many times the loop called itself to come here
  const Node* node = nullptr;                 ///< of a recursive loop
  std::shared_ptr<Scope> scope;               ///< in which a recursive loop stands
  mutable std::optional<Value> last_changed;  ///< of loop.changed()
};

/// `a text`, `an integer`: for messages.
std::string kind_of(const Value& value);

/// Two keys are the same in Python exactly when these texts are; nothing for what cannot be a key.
std::optional<std::string> key_of(const Value& value);

/// Whether Python can look for it in a map, be it that it never finds it there.
bool may_be_key(const Value& value);

/// A Fault that says why, when the value is undefined.
void need_defined(const Value& value);
/// A Fault for values nested too deeply.
void check_depth(int depth);

bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
/// Below, at or above 0; a Fault for what has no order.
int compare(const Value& a, const Value& b);

/// Counts the values it makes into `steps`. A Fault for values nested too deeply and integers past 64 bits.
Value from_json(const nlohmann::ordered_json& json, std::size_t& steps, int depth = 1);

}  // namespace orch::tmpl
