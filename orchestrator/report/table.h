// Tables for a terminal or a log: columns as wide as what stands in them, numbers to the right.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace orch::report {

/// How to print. Who prints decides, nobody here looks at a terminal.
struct Style {
  bool color = false;
  std::size_t width = 0;  ///< of the terminal; 0: lines may have any length
};

std::string bold(const Style& style, std::string_view text);

/// Columns that a text takes on a terminal: code points, wide ones twice, combining ones not at all.
std::size_t display_width(std::string_view utf8);

enum class Align { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
    std::size_t most = 60;  ///< wider content is cut with an ellipsis
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell a column. Control characters are shown as escapes.
  void add(std::vector<std::string> row);
  std::size_t rows() const { return rows_.size(); }

  /// Nothing at all when there are no rows. Where the lines are wider than the terminal, a last column of text goes on
  /// below itself, if the terminal has room for a readable piece of it.
  void print(std::ostream& out, const Style& style) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace orch::report
