// The smallest parts of Python's expressions: blanks, names, numbers, texts.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "eval/score/value.h"

namespace orch::eval {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// Blanks, line ends, comments: between brackets they all mean nothing.
  void skip_blanks();
  bool at_end() const { return at_ == text_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  /// Takes `word` if it comes next, behind blanks.
  bool take(std::string_view word);

  bool at_name() const;
  bool at_number() const;
  /// With the letters before its first quotation mark.
  bool at_text() const;

  std::string name();
  Result<Value> number();
  /// One or more, put together.
  Result<std::string> text();

  /// An error that says where.
  Error error(const std::string& what) const;

 private:
  Result<std::string> one_text();
  std::optional<Error> escape(std::string& into);
  Result<Value> integer(std::string digits, int base) const;

  std::string_view text_;
  std::size_t at_ = 0;
};

bool is_keyword(std::string_view name);

}  // namespace orch::eval
