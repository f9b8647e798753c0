// Expressions: from tokens to their trees, in Jinja's order of binding.
//
// Holds:
//  - No tree is deeper than kMostExpressionDepth.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/template/ast.h"
#include "base/template/token_reader.h"

namespace orch::tmpl {

/// A long chain such as a + b + c nests too, but needs no brackets.
constexpr int kMostExpressionDepth = 400;

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenReader& tokens) : tokens_(tokens) {}

  ExprPtr expression();
  /// One expression, or several with commas as a tuple. Without `conditional`, an `if` after it is not part of it.
  ExprPtr tuple(bool conditional = true);
  /// `name | name(…)`, as the tag filter has them, of what a block prints.
  ExprPtr filters_of_block();
  /// Whether the name was spoken of since it was last asked.
  bool take_mention(std::string_view name) { return mentioned_.erase(std::string(name)) > 0; }
  void mention(std::string_view name) { mentioned_.emplace(name); }

 private:
  using Kind = Token::Kind;
  using Nesting = TokenReader::Nesting;

  ExprPtr make(Expr::Kind kind, const Token& place) const;
  ExprPtr make_literal(const Token& place, Value value) const;
  ExprPtr make_unary(const Token& place, Operator op, ExprPtr operand) const;
  ExprPtr make_binary(const Token& place, Operator op, ExprPtr left, ExprPtr right) const;
  void add(const ExprPtr& parent, ExprPtr child) const;

  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  std::optional<Operator> comparison_operator();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);

  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr number();
  ExprPtr parentheses();
  ExprPtr list();
  ExprPtr dict();

  ExprPtr postfix(ExprPtr value);
  ExprPtr attribute(ExprPtr object);
  ExprPtr subscript(ExprPtr object);
  ExprPtr call(ExprPtr function);
  void arguments(const ExprPtr& call);
  ExprPtr filters(ExprPtr value);
  ExprPtr filter(ExprPtr value);
  ExprPtr test(ExprPtr value);
  void test_operand(const ExprPtr& test);

  TokenReader& tokens_;
  std::set<std::string> mentioned_;  ///< of the names that mean something in a macro
};

}  // namespace orch::tmpl
