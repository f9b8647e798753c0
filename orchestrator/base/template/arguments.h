// The arguments of a call, a filter or a test, and their matching to the parameters of what is called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/template/value.h"

namespace orch::tmpl {

/// Those without a name come first.
struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

/// Which argument a call gives for each of the parameters of what it calls. Throws a Fault for one too many.
class Taken {
 public:
  Taken(const Arguments& arguments, std::string what, std::initializer_list<std::string_view> parameters);

  bool has(std::size_t i) const { return found_[i] != nullptr; }
  /// Given, and not as none.
  bool has_some(std::size_t i) const { return found_[i] && !found_[i]->is_none(); }
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

/// A Fault if there is any argument.
void take_none(const Arguments& arguments, std::string what);

}  // namespace orch::tmpl
