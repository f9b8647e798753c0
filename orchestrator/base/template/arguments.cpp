#include "base/template/arguments.h"

#include <algorithm>

#include "base/text.h"

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
  need_defined(value);
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

void take_none(const Arguments& arguments, std::string what) { const Taken taken(arguments, std::move(what), {}); }

}  // namespace orch::tmpl
