// What is wrong with the files a user wrote: every problem, each with its place.
//
// Holds:
//  - Checking goes on after a problem, so that one run shows all of them; whoever reads a file asks ok() before using
//  it.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace orch {

/// A place in a file. Line and column count from 1; 0 means the file as a whole.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  auto operator<=>(const Place&) const = default;
};

/// `file:line:column`
std::string to_string(const Place& place);

struct Problem {
  Place place;
  std::string what;
  bool operator==(const Problem&) const = default;
};

class Diagnostics {
 public:
  /// Past this many, problems are counted and no longer kept: a hostile file must not fill memory or a terminal.
  static constexpr std::size_t kMost = 200;

  void error(const Place& place, std::string_view what);
  /// Something the user should know that stops nothing.
  void warn(const Place& place, std::string_view what);

  bool ok() const { return errors_.empty(); }
  std::size_t error_count() const { return errors_.size() + dropped_; }

  /// In the order of file (as first met), line, column.
  std::vector<Problem> errors() const;
  const std::vector<Problem>& warnings() const { return warnings_; }

  /// One line a problem, `file:line:column: what`; a last line says how many were left out.
  void print(std::ostream& out) const;

 private:
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
  std::size_t dropped_ = 0;
};

}  // namespace orch
