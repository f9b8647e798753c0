// The tokens of a template, one after another, for the parsers of expressions and of statements.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/template/lexer.h"
#include "base/template/template.h"

namespace orch::tmpl {

class TokenReader {
 public:
  TokenReader(std::vector<Token> tokens, const std::string& file, const Options& options)
      : tokens_(std::move(tokens)), file_(file), options_(options) {}

  const Options& options() const { return options_; }

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& before() const { return tokens_[at_ > 0 ? at_ - 1 : 0]; }
  bool is(Token::Kind kind) const { return now().kind == kind; }
  bool is_op(std::string_view op) const { return is(Token::Kind::kOperator) && now().text == op; }
  bool is_op_ahead(std::string_view op) const { return ahead().kind == Token::Kind::kOperator && ahead().text == op; }
  bool is_name(std::string_view name) const { return is(Token::Kind::kName) && now().text == name; }

  /// The token that stood here.
  const Token& take() { return tokens_[at_++]; }
  bool skip_op(std::string_view op) { return is_op(op) && (++at_, true); }
  bool skip_name(std::string_view name) { return is_name(name) && (++at_, true); }
  void need_op(std::string_view op);
  /// Any name, words of the language too: of an attribute, a filter, a tag.
  const std::string& need_word(std::string_view what);
  /// A name that a template may give to something of its own.
  const std::string& need_name(std::string_view what);

  template <class Place>
  [[noreturn]] void fail(const Place& place, std::string what) const {
    throw TemplateError{file_, place.line, place.column, std::move(what)};
  }
  /// `expected WHAT, found …`
  [[noreturn]] void expected(std::string_view what) const;

  /// A bracket, an operator or a block that is open: one more step of recursion.
  struct Nesting {
    explicit Nesting(TokenReader& r);
    ~Nesting() { --reader.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    TokenReader& reader;
  };

 private:
  std::vector<Token> tokens_;
  const std::string& file_;
  const Options& options_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace orch::tmpl
