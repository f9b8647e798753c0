// Filters (`x | name`), tests (`x is name`) and methods (`x.name()`), with the meaning they have in Jinja and Python.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/template/template.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// The arguments of a call: those without a name come first.
struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

/// Which argument a call gives for each of the parameters of what it calls. Throws a Fault for one too many.
class Taken {
 public:
  Taken(const Arguments& arguments, std::string what, std::initializer_list<std::string_view> parameters);

  bool has(std::size_t i) const { return found_[i] != nullptr; }
  /// The argument, or a Fault that asks for it.
  const Value& need(std::size_t i) const;
  const std::string& need_text(std::size_t i) const;
  std::string text(std::size_t i, std::string otherwise) const;
  std::int64_t integer(std::size_t i, std::int64_t otherwise) const;
  bool flag(std::size_t i, bool otherwise) const;
  Value value(std::size_t i, Value otherwise) const { return found_[i] ? *found_[i] : std::move(otherwise); }

 private:
  std::string what_;
  std::vector<std::string_view> parameters_;
  std::vector<const Value*> found_;
};

/// The limits and options of one rendering, as far as values are concerned.
class Budget {
 public:
  explicit Budget(const Options& options) : options_(options) {}

  /// A Fault once the rendering has worked too long.
  void spend(std::size_t steps);
  /// A text made by the template, counted and not longer than it may be.
  Value text(std::string text);
  void check_size(std::size_t bytes) const;
  /// Before looking for one text in another, which takes the product of their lengths at worst.
  void search(std::string_view text, std::string_view part) { spend((1 + text.size() / 64) * (1 + part.size() / 64)); }
  /// As to_text(), except that an undefined value is an error where the options say so.
  std::string printed(const Value& value);
  /// What a loop over the value meets: items, keys, characters.
  std::vector<Value> items(const Value& value);
  /// Whether an undefined value may not be printed or gone through.
  bool refuses(const Value& undefined) const;
  bool equals(const Value& a, const Value& b);
  int order(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);

  std::size_t most() const { return options_.most_output; }
  const Options& options() const { return options_; }

 private:
  const Options& options_;
  std::size_t steps_ = 0;
};

bool is_filter(std::string_view name);
bool is_test(std::string_view name);
const std::vector<std::string>& filter_names();
const std::vector<std::string>& test_names();

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget);

/// Whether values of this kind have the method.
bool has_method(const Value& self, std::string_view name);
Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget);

/// `value.name`, `value[key]`: undefined when there is none.
Value attribute_of(const Value& value, const std::string& name, Budget& budget);
Value item_of(const Value& value, const Value& key, Budget& budget);

// Used by filters and methods alike.
std::string stripped(std::string_view text, const Value& characters, bool left, bool right);
std::string replaced(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                     Budget& budget);

}  // namespace orch::tmpl
