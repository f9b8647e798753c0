// A value, or the reason why there is none. For failures that are expected: a bad file, a name that is not known, a
// model that does not fit. What is a fault of the program itself is an exception or an assertion.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace orch {

/// Why something could not be had, as a sentence for the person who asked.
struct Error {
  std::string what;
};

template <class T, class E = Error>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: conversions are the point
  Result(E error) : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& operator*() & { return std::get<0>(held_); }
  const T& operator*() const& { return std::get<0>(held_); }
  T&& operator*() && { return std::get<0>(std::move(held_)); }
  T* operator->() { return &std::get<0>(held_); }
  const T* operator->() const { return &std::get<0>(held_); }

  const E& error() const { return std::get<1>(held_); }

 private:
  std::variant<T, E> held_;
};

}  // namespace orch
