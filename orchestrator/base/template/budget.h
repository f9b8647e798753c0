// The limits and options of one rendering, as far as values are concerned.
//
// Holds:
//  - Whatever may take long for values of a size that the template chooses is paid for here before it is done.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/template/template.h"
#include "base/template/value.h"

namespace orch::tmpl {

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
  /// What a loop over the value meets: items, keys, characters. What can be gone through once is then at its end.
  std::vector<Value> items(const Value& value);
  /// What a filter gives of many values: to go through once in a chat template, else a list.
  Value passing(std::vector<Value> items) const;
  /// A view in a chat template, else a list.
  Value view(View view) const;
  /// A Fault where the options let no such value be printed or gone through.
  void allow_undefined(const Value& undefined) const;
  bool equals(const Value& a, const Value& b);
  int order(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);

  const Options& options() const { return options_; }

 private:
  const Options& options_;
  std::size_t steps_ = 0;
};

}  // namespace orch::tmpl
