#include "base/template/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/template/characters.h"
#include "base/template/filters.h"
#include "base/template/value_tests.h"
#include "base/text.h"

namespace orch::tmpl {

ExprPtr ExpressionParser::make(Expr::Kind kind, const Token& place) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = place.line;
  expr->column = place.column;
  return expr;
}

ExprPtr ExpressionParser::make_literal(const Token& place, Value value) const {
  auto expr = make(Expr::Kind::kLiteral, place);
  expr->value = std::move(value);
  return expr;
}

ExprPtr ExpressionParser::make_unary(const Token& place, Operator op, ExprPtr operand) const {
  auto expr = make(Expr::Kind::kUnary, place);
  expr->operators.push_back(op);
  add(expr, std::move(operand));
  return expr;
}

ExprPtr ExpressionParser::make_binary(const Token& place, Operator op, ExprPtr left, ExprPtr right) const {
  auto expr = make(Expr::Kind::kBinary, place);
  expr->operators.push_back(op);
  add(expr, std::move(left));
  add(expr, std::move(right));
  return expr;
}

void ExpressionParser::add(const ExprPtr& parent, ExprPtr child) const {
  if (child) {
    parent->depth = std::max(parent->depth, child->depth + 1);
    if (parent->depth > kMostExpressionDepth)
      tokens_.fail(*child, "an expression of more than " + std::to_string(kMostExpressionDepth) + " steps in a chain");
  }
  parent->items.push_back(std::move(child));
}

ExprPtr ExpressionParser::expression() {
  ExprPtr value = either();
  while (tokens_.is_name("if")) {
    auto expr = make(Expr::Kind::kConditional, tokens_.take());
    add(expr, either());
    add(expr, std::move(value));
    if (tokens_.skip_name("else")) {
      const Nesting nesting(tokens_);
      add(expr, expression());
    } else {
      add(expr, nullptr);
    }
    value = std::move(expr);
  }
  return value;
}

ExprPtr ExpressionParser::either() {
  ExprPtr left = both();
  if (!tokens_.is_name("or")) return left;
  auto expr = make(Expr::Kind::kOr, tokens_.now());
  add(expr, std::move(left));
  while (tokens_.skip_name("or")) add(expr, both());
  return expr;
}

ExprPtr ExpressionParser::both() {
  ExprPtr left = negation();
  if (!tokens_.is_name("and")) return left;
  auto expr = make(Expr::Kind::kAnd, tokens_.now());
  add(expr, std::move(left));
  while (tokens_.skip_name("and")) add(expr, negation());
  return expr;
}

ExprPtr ExpressionParser::negation() {
  if (!tokens_.is_name("not")) return comparison();
  const Nesting nesting(tokens_);
  const Token& place = tokens_.take();
  return make_unary(place, Operator::kNot, negation());
}

std::optional<Operator> ExpressionParser::comparison_operator() {
  if (tokens_.is(Kind::kOperator)) {
    static constexpr std::pair<std::string_view, Operator> kOps[] = {
        {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
        {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
    for (const auto& [text, op] : kOps)
      if (tokens_.skip_op(text)) return op;
    return std::nullopt;
  }
  if (tokens_.skip_name("in")) return Operator::kIn;
  if (tokens_.is_name("not") && tokens_.ahead().kind == Kind::kName && tokens_.ahead().text == "in") {
    tokens_.take();
    tokens_.take();
    return Operator::kNotIn;
  }
  return std::nullopt;
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr left = sum();
  const Token& place = tokens_.now();
  auto op = comparison_operator();
  if (!op) return left;
  auto expr = make(Expr::Kind::kCompare, place);
  add(expr, std::move(left));
  while (op) {
    expr->operators.push_back(*op);
    add(expr, sum());
    op = comparison_operator();
  }
  return expr;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (tokens_.is_op("+") || tokens_.is_op("-")) {
    const Token& place = tokens_.take();
    const Operator op = place.text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = make_binary(place, op, std::move(left), concatenation());
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr left = product();
  if (!tokens_.is_op("~")) return left;
  auto expr = make(Expr::Kind::kConcat, tokens_.now());
  add(expr, std::move(left));
  while (tokens_.skip_op("~")) add(expr, product());
  return expr;
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (tokens_.is_op("*") || tokens_.is_op("/") || tokens_.is_op("//") || tokens_.is_op("%")) {
    const Token& place = tokens_.take();
    const Operator op = place.text == "*"    ? Operator::kMultiply
                        : place.text == "/"  ? Operator::kDivide
                        : place.text == "//" ? Operator::kFloorDivide
                                             : Operator::kModulo;
    left = make_binary(place, op, std::move(left), power());
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary(true);
  while (tokens_.is_op("**")) {
    const Token& place = tokens_.take();
    left = make_binary(place, Operator::kPower, std::move(left), unary(true));
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  ExprPtr value;
  if (tokens_.is_op("-") || tokens_.is_op("+")) {
    const Nesting nesting(tokens_);
    const Token& place = tokens_.take();
    value = make_unary(place, place.text == "-" ? Operator::kNegate : Operator::kKeepSign, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::primary() {
  const Token& place = tokens_.now();
  switch (place.kind) {
    case Kind::kName:
      return name_or_constant();
    case Kind::kString: {
      std::string text;
      while (tokens_.is(Kind::kString)) text += tokens_.take().text;
      return make_literal(place, Value::text(std::move(text)));
    }
    case Kind::kInteger:
    case Kind::kFloat:
      return number();
    case Kind::kOperator:
      if (place.text == "(") return parentheses();
      if (place.text == "[") return list();
      if (place.text == "{") return dict();
      break;
    default:
      break;
  }
  tokens_.expected("a value");
}

ExprPtr ExpressionParser::name_or_constant() {
  const Token& place = tokens_.now();
  std::optional<Value> constant;
  if (place.text == "true" || place.text == "True") constant = Value::boolean(true);
  if (place.text == "false" || place.text == "False") constant = Value::boolean(false);
  if (place.text == "none" || place.text == "None") constant = Value();
  if (constant) return make_literal(tokens_.take(), *std::move(constant));
  auto expr = make(Expr::Kind::kName, place);
  expr->text = tokens_.need_name("a value");
  if (expr->text == "caller" || expr->text == "varargs" || expr->text == "kwargs") mentioned_.insert(expr->text);
  return expr;
}

ExprPtr ExpressionParser::number() {
  const Token& place = tokens_.take();
  const char *begin = place.text.data(), *end = begin + place.text.size();
  if (place.kind == Kind::kInteger) {
    std::int64_t value = 0;
    std::from_chars(begin, end, value);
    return make_literal(place, Value::integer(value));
  }
  double value = 0;
  if (std::from_chars(begin, end, value).ec != std::errc()) {
    const bool is_small = place.text.find("e-") != std::string::npos || place.text.find("E-") != std::string::npos;
    value = is_small ? 0.0 : HUGE_VAL;
  }
  return make_literal(place, Value::number(value));
}

ExprPtr ExpressionParser::parentheses() {
  const Nesting nesting(tokens_);
  const Token& place = tokens_.take();
  if (tokens_.skip_op(")")) return make(Expr::Kind::kTuple, place);
  ExprPtr value = tuple();
  tokens_.need_op(")");
  return value;
}

ExprPtr ExpressionParser::tuple(bool conditional) {
  const auto item = [&] { return conditional ? expression() : either(); };
  const Token& place = tokens_.now();
  ExprPtr first = item();
  if (!tokens_.is_op(",")) return first;
  auto expr = make(Expr::Kind::kTuple, place);
  add(expr, std::move(first));
  while (tokens_.skip_op(",")) {
    if (tokens_.is_op(")") || tokens_.is_name("if") || tokens_.is(Kind::kBlockEnd) || tokens_.is(Kind::kOutputEnd))
      break;
    add(expr, item());
  }
  return expr;
}

ExprPtr ExpressionParser::list() {
  const Nesting nesting(tokens_);
  auto expr = make(Expr::Kind::kList, tokens_.take());
  while (!tokens_.is_op("]")) {
    if (!expr->items.empty()) {
      if (!tokens_.skip_op(",")) tokens_.expected("',' or ']'");
      if (tokens_.is_op("]")) break;
    }
    add(expr, expression());
  }
  tokens_.take();
  return expr;
}

ExprPtr ExpressionParser::dict() {
  const Nesting nesting(tokens_);
  auto expr = make(Expr::Kind::kDict, tokens_.take());
  while (!tokens_.is_op("}")) {
    if (!expr->items.empty()) {
      if (!tokens_.skip_op(",")) tokens_.expected("',' or '}'");
      if (tokens_.is_op("}")) break;
    }
    add(expr, expression());
    tokens_.need_op(":");
    add(expr, expression());
  }
  tokens_.take();
  return expr;
}

ExprPtr ExpressionParser::postfix(ExprPtr value) {
  for (;;) {
    if (tokens_.is_op("."))
      value = attribute(std::move(value));
    else if (tokens_.is_op("["))
      value = subscript(std::move(value));
    else if (tokens_.is_op("("))
      value = call(std::move(value));
    else
      return value;
  }
}

ExprPtr ExpressionParser::attribute(ExprPtr object) {
  const Token& place = tokens_.take();
  if (tokens_.is(Kind::kInteger)) {
    auto expr = make(Expr::Kind::kItem, place);
    add(expr, std::move(object));
    add(expr, number());
    return expr;
  }
  auto expr = make(Expr::Kind::kAttribute, place);
  expr->text = tokens_.need_word("the name of an attribute");
  add(expr, std::move(object));
  return expr;
}

ExprPtr ExpressionParser::subscript(ExprPtr object) {
  const Nesting nesting(tokens_);
  const Token& place = tokens_.take();
  ExprPtr parts[3];
  std::size_t colons = 0;
  for (;;) {
    if (!tokens_.is_op(":") && !tokens_.is_op("]")) parts[colons] = expression();
    if (colons == 2 || !tokens_.skip_op(":")) break;
    ++colons;
  }
  tokens_.need_op("]");
  auto expr = make(colons ? Expr::Kind::kSlice : Expr::Kind::kItem, place);
  add(expr, std::move(object));
  if (!colons && !parts[0]) tokens_.fail(place, "expected an index or a key between '[' and ']'");
  add(expr, std::move(parts[0]));
  if (colons) {
    add(expr, std::move(parts[1]));
    add(expr, std::move(parts[2]));
  }
  return expr;
}

ExprPtr ExpressionParser::call(ExprPtr function) {
  auto expr = make(Expr::Kind::kCall, tokens_.now());
  add(expr, std::move(function));
  arguments(expr);
  return expr;
}

/// The arguments of a call whose parenthesis comes next.
void ExpressionParser::arguments(const ExprPtr& call) {
  const Nesting nesting(tokens_);
  tokens_.need_op("(");
  bool first = true;
  while (!tokens_.is_op(")")) {
    if (!first) {
      if (!tokens_.skip_op(",")) tokens_.expected("',' or ')'");
      if (tokens_.is_op(")")) break;
    }
    first = false;
    if (tokens_.is_op("*") || tokens_.is_op("**")) {
      const Token& place = tokens_.take();
      if (!tokens_.options().chat)
        tokens_.fail(place, "arguments given as a list or a map are not part of this language");
      if (among(call->names, "**") || (place.text == "*" && !call->names.empty()))
        tokens_.fail(place, "arguments come by their places, then from a list, by name, and from a map");
      call->names.push_back(place.text);
    } else if (tokens_.is(Kind::kName) && tokens_.is_op_ahead("=")) {
      const Token& place = tokens_.now();
      const std::string& key = tokens_.need_name("the name of an argument");
      if (among(call->names, key)) tokens_.fail(place, "the argument " + quote(key) + " is given twice");
      tokens_.need_op("=");
      call->names.push_back(key);
    } else if (!call->names.empty()) {
      tokens_.fail(tokens_.now(), "an argument without a name follows one with a name");
    }
    add(call, expression());
  }
  tokens_.take();
}

ExprPtr ExpressionParser::filters(ExprPtr value) {
  for (;;) {
    if (tokens_.skip_op("|"))
      value = filter(std::move(value));
    else if (tokens_.skip_name("is"))
      value = test(std::move(value));
    else if (tokens_.is_op("("))
      value = call(std::move(value));
    else
      return value;
  }
}

ExprPtr ExpressionParser::filters_of_block() {
  ExprPtr value = make(Expr::Kind::kName, tokens_.now());
  value->text = kBlockText;
  value = filter(std::move(value));
  while (tokens_.skip_op("|")) value = filter(std::move(value));
  return value;
}

ExprPtr ExpressionParser::filter(ExprPtr value) {
  const Token& place = tokens_.now();
  auto expr = make(Expr::Kind::kFilter, place);
  expr->text = tokens_.need_word("the name of a filter");
  add(expr, std::move(value));
  if (tokens_.options().escape == Options::Escape::kShell && (expr->text == "safe" || expr->text == "raw"))
    tokens_.fail(place,
                 "the filter " + quote(expr->text) + " is not for scripts: every value that reaches a shell is quoted");
  // As in Jinja, a chat template may name what is not there where it is never asked for.
  if (!is_filter(expr->text) && !tokens_.options().chat)
    tokens_.fail(place, "no filter " + quote(expr->text) + hint(expr->text, filter_names()));
  if (tokens_.is_op("(")) arguments(expr);
  return expr;
}

ExprPtr ExpressionParser::test(ExprPtr value) {
  const bool negated = tokens_.skip_name("not");
  const Token& place = tokens_.now();
  auto expr = make(Expr::Kind::kTest, place);
  expr->text = tokens_.need_word("the name of a test");
  if (!is_test(expr->text) && !tokens_.options().chat)
    tokens_.fail(place, "no test " + quote(expr->text) + hint(expr->text, test_names()));
  add(expr, std::move(value));
  if (tokens_.is_op("("))
    arguments(expr);
  else
    test_operand(expr);
  return negated ? make_unary(place, Operator::kNot, std::move(expr)) : std::move(expr);
}

/// The 3 of `x is divisibleby 3`, when there is one.
void ExpressionParser::test_operand(const ExprPtr& test) {
  static constexpr std::string_view kNoOperand[] = {"else", "or", "and", "if", "in", "not"};
  if (tokens_.is_name("is")) tokens_.fail(tokens_.now(), "tests with 'is' do not chain; join them with 'and'");
  const bool begins = tokens_.is(Kind::kString) || tokens_.is(Kind::kInteger) || tokens_.is(Kind::kFloat) ||
                      tokens_.is_op("[") || tokens_.is_op("{") ||
                      (tokens_.is(Kind::kName) && !among(kNoOperand, tokens_.now().text));
  if (!begins) return;
  const Nesting nesting(tokens_);
  add(test, postfix(primary()));
}

}  // namespace orch::tmpl
