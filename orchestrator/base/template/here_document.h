// A here-document of a script, from its `<<` to the line that ends it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orch::tmpl {

class HereDocument {
 public:
  /// Reads what follows `<<`, up to the end of the mark, and moves `at` there. False when more of the text must be seen
  /// first; a `final` text has no more.
  bool read_mark(std::string_view text, std::size_t& at, bool final);

  const std::string& mark() const { return mark_; }
  /// Whether bash leaves $, ` and \ in it alone.
  bool is_literal() const { return is_quoted_; }

  void add(char c);
  /// A value, as it is written here. A Fault if it holds the line that ends the document.
  std::string value(std::string_view value);
  /// Its place, when the value itself is not known yet.
  void any_value() { has_value_ = true; }
  /// Whether the line that ends here ends the document. A Fault if a value made it so, or if `in_parentheses` the
  /// parenthesis stands right behind the mark.
  bool end_line(bool in_parentheses);
  /// Whether the script can end here: a last line without a newline still ends the document.
  bool may_end() const { return line_ == mark_ && !has_value_; }

 private:
  [[noreturn]] void fail_ended_by_value() const;

  std::string mark_;
  bool is_quoted_ = false;
  bool strips_tabs_ = false;
  std::string line_;        ///< the line so far, as far as it may be the mark
  bool has_value_ = false;  ///< on this line
};

}  // namespace orch::tmpl
