#include "base/template/parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "base/template/filters.h"
#include "base/template/lexer.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 12> kReserved = {"and",  "or",   "not", "in",        "is",     "if",
                                                        "else", "elif", "for", "recursive", "import", "endfor"};

class Parser {
 public:
  Parser(std::vector<Token> tokens, const std::string& file, const Options& options)
      : tokens_(std::move(tokens)), file_(file), options_(options) {}

  std::vector<Node> run() {
    std::vector<Node> nodes;
    body(nodes, {});
    return nodes;
  }

 private:
  using Kind = Token::Kind;

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is_op(std::string_view op) const { return now().kind == Kind::kOperator && now().text == op; }
  bool is_name(std::string_view name) const { return now().kind == Kind::kName && now().text == name; }
  bool skip_op(std::string_view op) { return is_op(op) && (++at_, true); }
  bool skip_name(std::string_view name) { return is_name(name) && (++at_, true); }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case Kind::kEnd:
        return "the end of the template";
      case Kind::kOutputEnd:
        return "'}}'";
      case Kind::kBlockEnd:
        return "'%}'";
      case Kind::kText:
      case Kind::kOutputBegin:
      case Kind::kBlockBegin:
        return "the end of the tag";
      case Kind::kString:
        return "the text " + quote(token.text);
      default:
        return quote(token.text);
    }
  }

  [[noreturn]] void fail(const Token& token, std::string what) const {
    throw TemplateError{file_, token.line, token.column, std::move(what)};
  }
  [[noreturn]] void expected(std::string_view what) const {
    fail(now(), "expected " + std::string(what) + ", found " + describe(now()));
  }
  void need_op(std::string_view op) {
    if (!skip_op(op)) expected(quote(op));
  }

  std::string name(std::string_view what) {
    if (now().kind != Kind::kName) expected(what);
    if (std::find(kReserved.begin(), kReserved.end(), now().text) != kReserved.end())
      fail(now(), "expected " + std::string(what) + "; " + quote(now().text) + " is a word of the language");
    return tokens_[at_++].text;
  }

  struct Nesting {
    explicit Nesting(Parser& p) : parser(p) {
      if (++parser.nesting_ > parser.options_.most_depth)
        parser.fail(parser.now(), "nested more than " + std::to_string(parser.options_.most_depth) + " deep");
    }
    ~Nesting() { --parser.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Parser& parser;
  };

  ExprPtr make(Expr::Kind kind, const Token& place) const {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = place.line;
    expr->column = place.column;
    return expr;
  }

  void add(const ExprPtr& parent, ExprPtr child) const {
    if (child) {
      parent->depth = std::max(parent->depth, child->depth + 1);
      if (parent->depth > kMostExpressionDepth)
        throw TemplateError{file_, child->line, child->column,
                            "an expression of more than " + std::to_string(kMostExpressionDepth) + " steps in a chain"};
    }
    parent->items.push_back(std::move(child));
  }

  ExprPtr literal(const Token& place, Value value) const {
    auto expr = make(Expr::Kind::kLiteral, place);
    expr->value = std::move(value);
    return expr;
  }

  // Expressions, in Jinja's order of binding.

  ExprPtr expression(bool conditional = true) { return conditional ? condition() : either(); }

  ExprPtr condition() {
    ExprPtr value = either();
    while (is_name("if")) {
      const Token place = now();
      ++at_;
      auto expr = make(Expr::Kind::kConditional, place);
      add(expr, either());
      add(expr, std::move(value));
      if (skip_name("else")) {
        const Nesting nesting(*this);
        add(expr, expression());
      } else {
        add(expr, nullptr);
      }
      value = std::move(expr);
    }
    return value;
  }

  ExprPtr either() {
    ExprPtr left = both();
    if (!is_name("or")) return left;
    auto expr = make(Expr::Kind::kOr, now());
    add(expr, std::move(left));
    while (skip_name("or")) add(expr, both());
    return expr;
  }

  ExprPtr both() {
    ExprPtr left = negation();
    if (!is_name("and")) return left;
    auto expr = make(Expr::Kind::kAnd, now());
    add(expr, std::move(left));
    while (skip_name("and")) add(expr, negation());
    return expr;
  }

  ExprPtr negation() {
    if (!is_name("not")) return comparison();
    const Nesting nesting(*this);
    const Token place = now();
    ++at_;
    auto expr = make(Expr::Kind::kUnary, place);
    expr->operators.push_back(Operator::kNot);
    add(expr, negation());
    return expr;
  }

  std::optional<Operator> comparison_operator() {
    if (now().kind == Kind::kOperator) {
      static constexpr std::pair<std::string_view, Operator> kOps[] = {
          {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
          {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
      for (const auto& [text, op] : kOps)
        if (skip_op(text)) return op;
      return std::nullopt;
    }
    if (skip_name("in")) return Operator::kIn;
    if (is_name("not") && ahead().kind == Kind::kName && ahead().text == "in") {
      at_ += 2;
      return Operator::kNotIn;
    }
    return std::nullopt;
  }

  ExprPtr comparison() {
    ExprPtr left = sum();
    Token place = now();
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

  ExprPtr binary(const Token& place, Operator op, ExprPtr left, ExprPtr right) const {
    auto expr = make(Expr::Kind::kBinary, place);
    expr->operators.push_back(op);
    add(expr, std::move(left));
    add(expr, std::move(right));
    return expr;
  }

  ExprPtr sum() {
    ExprPtr left = concatenation();
    while (is_op("+") || is_op("-")) {
      const Token place = now();
      ++at_;
      left = binary(place, place.text == "+" ? Operator::kAdd : Operator::kSubtract, std::move(left), concatenation());
    }
    return left;
  }

  ExprPtr concatenation() {
    ExprPtr left = product();
    if (!is_op("~")) return left;
    auto expr = make(Expr::Kind::kConcat, now());
    add(expr, std::move(left));
    while (skip_op("~")) add(expr, product());
    return expr;
  }

  ExprPtr product() {
    ExprPtr left = power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
      const Token place = now();
      ++at_;
      const Operator op = place.text == "*"    ? Operator::kMultiply
                          : place.text == "/"  ? Operator::kDivide
                          : place.text == "//" ? Operator::kFloorDivide
                                               : Operator::kModulo;
      left = binary(place, op, std::move(left), power());
    }
    return left;
  }

  ExprPtr power() {
    ExprPtr left = unary(true);
    while (is_op("**")) {
      const Token place = now();
      ++at_;
      left = binary(place, Operator::kPower, std::move(left), unary(true));
    }
    return left;
  }

  ExprPtr unary(bool with_filters) {
    ExprPtr value;
    if (is_op("-") || is_op("+")) {
      const Nesting nesting(*this);
      const Token place = now();
      ++at_;
      value = make(Expr::Kind::kUnary, place);
      value->operators.push_back(place.text == "-" ? Operator::kNegate : Operator::kKeepSign);
      add(value, unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters(std::move(value)) : std::move(value);
  }

  ExprPtr primary() {
    const Token place = now();
    switch (place.kind) {
      case Kind::kName: {
        if (place.text == "true" || place.text == "True" || place.text == "false" || place.text == "False") {
          ++at_;
          return literal(place, Value::boolean(place.text[0] == 't' || place.text[0] == 'T'));
        }
        if (place.text == "none" || place.text == "None") {
          ++at_;
          return literal(place, Value());
        }
        auto expr = make(Expr::Kind::kName, place);
        expr->text = name("a value");
        return expr;
      }
      case Kind::kString: {
        std::string text;
        while (now().kind == Kind::kString) text += tokens_[at_++].text;
        return literal(place, Value::text(std::move(text)));
      }
      case Kind::kInteger: {
        ++at_;
        std::int64_t value = 0;
        std::from_chars(place.text.data(), place.text.data() + place.text.size(), value);
        return literal(place, Value::integer(value));
      }
      case Kind::kFloat: {
        ++at_;
        double value = 0;
        const auto read = std::from_chars(place.text.data(), place.text.data() + place.text.size(), value);
        if (read.ec != std::errc())
          value =
              place.text.find("e-") == std::string::npos && place.text.find("E-") == std::string::npos ? HUGE_VAL : 0.0;
        return literal(place, Value::number(value));
      }
      case Kind::kOperator:
        if (place.text == "(") return parentheses();
        if (place.text == "[") return list();
        if (place.text == "{") return dict();
        break;
      default:
        break;
    }
    expected("a value");
  }

  ExprPtr parentheses() {
    const Nesting nesting(*this);
    const Token place = now();
    ++at_;
    if (skip_op(")")) return make(Expr::Kind::kTuple, place);
    ExprPtr value = tuple(true);
    need_op(")");
    return value;
  }

  /// One expression, or several with commas as a tuple.
  ExprPtr tuple(bool conditional) {
    const Token place = now();
    ExprPtr first = expression(conditional);
    if (!is_op(",")) return first;
    auto expr = make(Expr::Kind::kTuple, place);
    add(expr, std::move(first));
    while (skip_op(",")) {
      if (is_op(")") || is_name("if") || now().kind == Kind::kBlockEnd || now().kind == Kind::kOutputEnd) break;
      add(expr, expression(conditional));
    }
    return expr;
  }

  ExprPtr list() {
    const Nesting nesting(*this);
    auto expr = make(Expr::Kind::kList, now());
    ++at_;
    while (!is_op("]")) {
      if (!expr->items.empty()) {
        if (!skip_op(",")) expected("',' or ']'");
        if (is_op("]")) break;
      }
      add(expr, expression());
    }
    ++at_;
    return expr;
  }

  ExprPtr dict() {
    const Nesting nesting(*this);
    auto expr = make(Expr::Kind::kDict, now());
    ++at_;
    while (!is_op("}")) {
      if (!expr->items.empty()) {
        if (!skip_op(",")) expected("',' or '}'");
        if (is_op("}")) break;
      }
      add(expr, expression());
      need_op(":");
      add(expr, expression());
    }
    ++at_;
    return expr;
  }

  ExprPtr postfix(ExprPtr value) {
    for (;;) {
      if (is_op("."))
        value = attribute(std::move(value));
      else if (is_op("["))
        value = subscript(std::move(value));
      else if (is_op("("))
        value = call(std::move(value));
      else
        return value;
    }
  }

  ExprPtr attribute(ExprPtr object) {
    const Token place = now();
    ++at_;
    if (now().kind == Kind::kInteger) {
      auto expr = make(Expr::Kind::kItem, place);
      add(expr, std::move(object));
      add(expr, primary());
      return expr;
    }
    if (now().kind != Kind::kName) expected("the name of an attribute");
    auto expr = make(Expr::Kind::kAttribute, place);
    expr->text = tokens_[at_++].text;
    add(expr, std::move(object));
    return expr;
  }

  ExprPtr subscript(ExprPtr object) {
    const Nesting nesting(*this);
    const Token place = now();
    ++at_;
    ExprPtr parts[3];
    std::size_t colons = 0;
    for (;;) {
      if (!is_op(":") && !is_op("]")) parts[colons] = expression();
      if (colons == 2 || !skip_op(":")) break;
      ++colons;
    }
    if (!skip_op("]")) expected("']'");
    auto expr = make(colons ? Expr::Kind::kSlice : Expr::Kind::kItem, place);
    add(expr, std::move(object));
    if (!colons && !parts[0]) fail(place, "expected an index or a key between '[' and ']'");
    add(expr, std::move(parts[0]));
    if (colons) {
      add(expr, std::move(parts[1]));
      add(expr, std::move(parts[2]));
    }
    return expr;
  }

  /// The arguments of a call whose parenthesis comes next.
  void arguments(const ExprPtr& call) {
    const Nesting nesting(*this);
    need_op("(");
    bool first = true;
    while (!is_op(")")) {
      if (!first) {
        if (!skip_op(",")) expected("',' or ')'");
        if (is_op(")")) break;
      }
      first = false;
      if (is_op("*") || is_op("**")) fail(now(), "arguments given as a list or a map are not part of this language");
      if (now().kind == Kind::kName && ahead().kind == Kind::kOperator && ahead().text == "=") {
        const Token place = now();
        const std::string key = name("the name of an argument");
        if (std::find(call->names.begin(), call->names.end(), key) != call->names.end())
          fail(place, "the argument " + quote(key) + " is given twice");
        ++at_;
        call->names.push_back(key);
      } else if (!call->names.empty()) {
        fail(now(), "an argument without a name follows one with a name");
      }
      add(call, expression());
    }
    ++at_;
  }

  ExprPtr call(ExprPtr function) {
    auto expr = make(Expr::Kind::kCall, now());
    add(expr, std::move(function));
    arguments(expr);
    return expr;
  }

  ExprPtr filters(ExprPtr value) {
    for (;;) {
      if (is_op("|"))
        value = filter(std::move(value));
      else if (is_name("is"))
        value = test(std::move(value));
      else if (is_op("("))
        value = call(std::move(value));
      else
        return value;
    }
  }

  ExprPtr filter(ExprPtr value) {
    ++at_;
    const Token place = now();
    auto expr = make(Expr::Kind::kFilter, place);
    if (place.kind != Kind::kName) expected("the name of a filter");
    expr->text = tokens_[at_++].text;
    add(expr, std::move(value));
    if (options_.escape == Options::Escape::kShell && (expr->text == "safe" || expr->text == "raw"))
      fail(place,
           "the filter " + quote(expr->text) + " is not for scripts: every value that reaches a shell is quoted");
    if (!is_filter(expr->text)) fail(place, "no filter " + quote(expr->text) + hint(expr->text, filter_names()));
    if (is_op("(")) arguments(expr);
    return expr;
  }

  ExprPtr test(ExprPtr value) {
    ++at_;
    const bool negated = skip_name("not");
    const Token place = now();
    if (place.kind != Kind::kName) expected("the name of a test");
    auto expr = make(Expr::Kind::kTest, place);
    expr->text = tokens_[at_++].text;
    if (!is_test(expr->text)) fail(place, "no test " + quote(expr->text) + hint(expr->text, test_names()));
    add(expr, std::move(value));
    if (is_op("(")) {
      arguments(expr);
    } else {
      const bool is_operand = now().kind == Kind::kString || now().kind == Kind::kInteger ||
                              now().kind == Kind::kFloat || is_op("[") || is_op("{") ||
                              (now().kind == Kind::kName && !is_name("else") && !is_name("or") && !is_name("and") &&
                               !is_name("if") && !is_name("in") && !is_name("not"));
      if (is_name("is")) fail(now(), "tests with 'is' do not chain; join them with 'and'");
      if (is_operand) {
        const Nesting nesting(*this);
        add(expr, postfix(primary()));
      }
    }
    if (!negated) return expr;
    auto negative = make(Expr::Kind::kUnary, place);
    negative->operators.push_back(Operator::kNot);
    add(negative, std::move(expr));
    return negative;
  }

  // Texts, tags and blocks.

  using Ends = std::vector<std::string_view>;

  /// Nodes up to a tag that begins with one of `ends`, whose name has then been read; or, when there are none, to the
  /// end of the template.
  std::string body(std::vector<Node>& nodes, const Ends& ends) {
    const Nesting nesting(*this);
    const Token opening = at_ > 0 ? tokens_[at_ - 1] : now();
    for (;;) {
      const Token& token = now();
      if (token.kind == Kind::kEnd) {
        if (ends.empty()) return {};
        fail(opening, "this block is not closed; expected '{% " + std::string(ends.back()) + " %}'");
      }
      if (token.kind == Kind::kText) {
        nodes.push_back(node(Node::Kind::kText, token));
        nodes.back().text = token.text;
        ++at_;
      } else if (token.kind == Kind::kOutputBegin) {
        nodes.push_back(node(Node::Kind::kOutput, token));
        ++at_;
        nodes.back().expr = tuple(true);
        if (now().kind != Kind::kOutputEnd) expected("'}}'");
        ++at_;
      } else {
        ++at_;
        if (now().kind != Kind::kName) expected("the name of a tag");
        if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return tokens_[at_++].text;
        tag(nodes, ends);
      }
    }
  }

  static Node node(Node::Kind kind, const Token& place) {
    Node made;
    made.kind = kind;
    made.line = place.line;
    made.column = place.column;
    return made;
  }

  void end_of_tag() {
    if (now().kind != Kind::kBlockEnd) expected("'%}'");
    ++at_;
  }

  void tag(std::vector<Node>& nodes, const Ends& ends) {
    const Token place = now();
    ++at_;
    if (place.text == "if") return nodes.push_back(if_tag(place));
    if (place.text == "for") return nodes.push_back(for_tag(place));
    if (place.text == "set") return nodes.push_back(set_tag(place));
    if (place.text == "macro") return nodes.push_back(macro_tag(place));
    if (place.text == "include") return nodes.push_back(include_tag(place));
    if (place.text == "break" || place.text == "continue") {
      if (!loops_) fail(place, quote(place.text) + " stands outside of a loop");
      nodes.push_back(node(place.text == "break" ? Node::Kind::kBreak : Node::Kind::kContinue, place));
      return end_of_tag();
    }
    if (place.text.starts_with("end") || place.text == "else" || place.text == "elif")
      fail(place,
           quote(place.text) + " closes nothing here" + (ends.empty() ? "" : "; expected " + quote(ends.back())));
    static const std::vector<std::string> kTags = {"if", "for", "set", "macro", "include", "break", "continue", "raw"};
    fail(place, "no tag " + quote(place.text) + hint(place.text, kTags));
  }

  Node if_tag(const Token& place) {
    Node made = node(Node::Kind::kIf, place);
    std::string end = "elif";
    while (end == "elif") {
      Branch branch;
      branch.condition = tuple(true);
      end_of_tag();
      end = body(branch.body, {"elif", "else", "endif"});
      made.branches.push_back(std::move(branch));
    }
    if (end == "else") {
      end_of_tag();
      body(made.otherwise, {"endif"});
    }
    end_of_tag();
    return made;
  }

  std::vector<std::string> names(std::string_view what) {
    const bool bracketed = skip_op("(");
    std::vector<std::string> found{name(what)};
    while (skip_op(",")) {
      if (now().kind != Kind::kName || is_name("in")) break;
      found.push_back(name(what));
    }
    if (bracketed) need_op(")");
    return found;
  }

  Node for_tag(const Token& place) {
    Node made = node(Node::Kind::kFor, place);
    made.targets = names("the name of the loop's variable");
    for (const std::string& target : made.targets)
      if (target == "loop") fail(place, "'loop' is what a loop itself is called; name its variable otherwise");
    if (!skip_name("in")) expected("'in'");
    made.expr = tuple(false);
    if (skip_name("if")) made.filter = expression();
    if (is_name("recursive")) fail(now(), "recursive loops are not part of this language");
    end_of_tag();
    ++loops_;
    const std::string end = body(made.body, {"else", "endfor"});
    --loops_;
    if (end == "else") {
      end_of_tag();
      body(made.otherwise, {"endfor"});
    }
    end_of_tag();
    return made;
  }

  Node set_tag(const Token& place) {
    Node made = node(Node::Kind::kSet, place);
    if (ahead().kind == Kind::kOperator && ahead().text == ".") {
      made.kind = Node::Kind::kSetField;
      made.targets.push_back(name("the name of a namespace"));
      ++at_;
      if (now().kind != Kind::kName) expected("the name of a field");
      made.targets.push_back(tokens_[at_++].text);
    } else {
      made.targets = names("the name of a variable");
    }
    for (const std::string& target : made.targets)
      if (target == "true" || target == "false" || target == "none" || target == "True" || target == "False" ||
          target == "None")
        fail(place, quote(target) + " cannot be set");
    if (skip_op("=")) {
      made.expr = tuple(true);
      end_of_tag();
      return made;
    }
    if (made.kind == Node::Kind::kSetField || made.targets.size() > 1) expected("'='");
    if (now().kind != Kind::kBlockEnd) expected("'=' or '%}'");
    ++at_;
    made.kind = Node::Kind::kSetBlock;
    const int loops = std::exchange(loops_, 0);
    body(made.body, {"endset"});
    loops_ = loops;
    end_of_tag();
    return made;
  }

  Node macro_tag(const Token& place) {
    Node made = node(Node::Kind::kMacro, place);
    made.text = name("the name of the macro");
    need_op("(");
    while (!is_op(")")) {
      if (!made.targets.empty() && !skip_op(",")) expected("',' or ')'");
      const Token parameter = now();
      const std::string target = name("the name of a parameter");
      if (std::find(made.targets.begin(), made.targets.end(), target) != made.targets.end())
        fail(parameter, "the parameter " + quote(target) + " is named twice");
      made.targets.push_back(target);
      if (skip_op("="))
        made.defaults.push_back(expression());
      else if (!made.defaults.empty())
        fail(parameter, "a parameter without a default follows one with a default");
    }
    ++at_;
    end_of_tag();
    const int loops = std::exchange(loops_, 0);
    body(made.body, {"endmacro"});
    loops_ = loops;
    if (now().kind == Kind::kName && now().text == made.text) ++at_;
    end_of_tag();
    return made;
  }

  Node include_tag(const Token& place) {
    Node made = node(Node::Kind::kInclude, place);
    made.expr = expression();
    if (is_name("ignore") || is_name("with") || is_name("without"))
      fail(now(), "an include takes only a name, always sees the variables and is never ignored");
    end_of_tag();
    return made;
  }

  std::vector<Token> tokens_;
  const std::string& file_;
  const Options& options_;
  std::size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

std::vector<Node> parse_nodes(std::string_view text, const std::string& file, const Options& options) {
  return Parser(tokens_of(text, file, options), file, options).run();
}

}  // namespace orch::tmpl
