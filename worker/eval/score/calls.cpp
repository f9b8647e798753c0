#include "eval/score/calls.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "eval/score/scanner.h"

namespace orch::eval {
namespace {

/// What an expression is to the leaderboard, which looks at its syntax, and what it is to Python, which works it out.
struct Node {
  std::optional<Value> value;       ///< to the leaderboard; nothing: it takes no such expression
  std::optional<Value> worth;       ///< to Python; nothing: it has names in it, or is not worked out here
  std::optional<std::string> text;  ///< as Python would write it; nothing: that is not told here
  bool constant = false;
  std::optional<Call> call;
};

std::string python_text(const std::string& text) {
  const char mark = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, mark);
  for (const char c : text) {
    if (c == mark || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out + mark;
}

std::optional<std::string> python_number(const Value& value) {
  if (const auto* integer = value.as<std::int64_t>()) return std::to_string(*integer);
  if (const auto* real = value.as<double>()) {
    // From 1e-4 to 1e16 Python writes digits alone, with a point.
    const double size = std::fabs(*real);
    if (size != 0 && (size < 1e-4 || size >= 1e16)) return std::nullopt;
    std::array<char, 64> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *real, std::chars_format::fixed).ptr;
    std::string text(digits.data(), end);
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  return std::nullopt;
}

Node constant(Value value) {
  Node node;
  node.text = python_number(value);
  node.worth = value;
  node.value = std::move(value);
  node.constant = true;
  return node;
}

std::optional<double> real_of(const Value& value) {
  if (const auto* real = value.as<double>()) return *real;
  if (const auto* integer = value.as<std::int64_t>()) return static_cast<double>(*integer);
  if (const auto* truth = value.as<bool>()) return *truth ? 1.0 : 0.0;
  return std::nullopt;
}

std::optional<std::int64_t> integer_of(const Value& value) {
  if (const auto* integer = value.as<std::int64_t>()) return *integer;
  if (const auto* truth = value.as<bool>()) return *truth ? 1 : 0;
  return std::nullopt;
}

std::optional<Value> finite(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  return Value{value};
}

enum class Operator { kAdd, kSubtract, kMultiply, kDivide, kFloor, kRest, kPower };

std::optional<Value> power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0)
    return base == 0 ? std::nullopt : finite(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  if (exponent > 64 && (base > 1 || base < -1)) return std::nullopt;
  if (exponent > 64) return Value{base == -1 ? (exponent % 2 == 0 ? std::int64_t{1} : std::int64_t{-1}) : base};
  std::int64_t result = 1;
  for (; exponent > 0; --exponent)
    if (__builtin_mul_overflow(result, base, &result)) return std::nullopt;
  return Value{result};
}

std::optional<Value> of_integers(Operator what, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (what) {
    case Operator::kAdd:
      return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(Value{result});
    case Operator::kSubtract:
      return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(Value{result});
    case Operator::kMultiply:
      return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(Value{result});
    case Operator::kDivide:
      return b == 0 ? std::nullopt : finite(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kPower:
      return power(a, b);
    default:
      break;
  }
  if (b == 0 || (a == std::numeric_limits<std::int64_t>::min() && b == -1)) return std::nullopt;
  // Python rounds down, and what is left has the sign of the divisor.
  const std::int64_t rest = (a % b != 0 && (a % b < 0) != (b < 0)) ? a % b + b : a % b;
  return Value{what == Operator::kRest ? rest : (a - rest) / b};
}

std::optional<Value> of_reals(Operator what, double a, double b) {
  switch (what) {
    case Operator::kAdd:
      return finite(a + b);
    case Operator::kSubtract:
      return finite(a - b);
    case Operator::kMultiply:
      return finite(a * b);
    case Operator::kDivide:
      return b == 0 ? std::nullopt : finite(a / b);
    case Operator::kFloor:
      return b == 0 ? std::nullopt : finite(std::floor(a / b));
    case Operator::kRest:
      return b == 0 ? std::nullopt : finite(a - b * std::floor(a / b));
    case Operator::kPower:
      return finite(std::pow(a, b));
  }
  return std::nullopt;
}

std::optional<Value> worked_out(Operator what, const Value& a, const Value& b) {
  if (const auto* left = a.as<std::string>(), *right = b.as<std::string>(); left && right)
    return what == Operator::kAdd ? std::optional(Value{*left + *right}) : std::nullopt;
  if (const auto left = integer_of(a), right = integer_of(b); left && right) return of_integers(what, *left, *right);
  if (const auto left = real_of(a), right = real_of(b); left && right) return of_reals(what, *left, *right);
  return std::nullopt;
}

std::optional<Value> negative(const Value& value) {
  if (const auto integer = integer_of(value)) return of_integers(Operator::kSubtract, 0, *integer);
  if (const auto* real = value.as<double>()) return Value{-*real};
  return std::nullopt;
}

bool can_be_key(const Value& value) {
  if (const auto* tuple = value.as<Tuple>()) return std::ranges::all_of(tuple->items, can_be_key);
  return !value.as<Values>() && !value.as<Dict>();
}

/// Python's expressions as far as the leaderboard's values go, from the loosest operator to the tightest.
class Parser {
 public:
  explicit Parser(std::string_view text) : scan_(text) {}

  /// All of the text: calls between brackets.
  Result<std::vector<Call>> calls() {
    std::vector<Call> calls;
    if (!scan_.take("[")) return scan_.error("calls stand between brackets");
    while (!scan_.take("]")) {
      auto one = expression();
      if (!one) return one.error();
      if (!one->call) return scan_.error("a function call was expected");
      calls.push_back(*std::move(one->call));
      if (!scan_.take(",") && !(scan_.skip_blanks(), scan_.peek() == ']'))
        return scan_.error("',' or ']' was expected");
    }
    scan_.skip_blanks();
    if (!scan_.at_end()) return scan_.error("more stands behind the calls");
    return calls;
  }

 private:
  class Level {
   public:
    explicit Level(int& depth) : depth_(++depth) {}
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool too_deep() const { return depth_ > kMostDepth; }

   private:
    int& depth_;
  };

  Result<Node> expression() {
    const Level level(depth_);
    if (level.too_deep()) return scan_.error("it is nested too deeply");
    auto left = product();
    while (left) {
      if (scan_.take("+"))
        left = joined(Operator::kAdd, *std::move(left), product());
      else if (scan_.take("-"))
        left = joined(Operator::kSubtract, *std::move(left), product());
      else
        break;
    }
    return left;
  }

  /// Of an argument; a comparison is no value.
  Result<Node> argument() {
    auto left = expression();
    while (left && (scan_.take("==") || scan_.take("!=") || scan_.take("<=") || scan_.take(">=") || scan_.take("<") ||
                    scan_.take(">"))) {
      auto right = expression();
      plain_name_ = false;
      left = right ? Result<Node>(Node{}) : std::move(right);
    }
    return left;
  }

  Result<Node> product() {
    auto left = sign();
    while (left) {
      scan_.skip_blanks();
      if (scan_.peek() == '*' && scan_.peek(1) == '*') break;
      if (scan_.take("//"))
        left = joined(Operator::kFloor, *std::move(left), sign());
      else if (scan_.take("*"))
        left = joined(Operator::kMultiply, *std::move(left), sign());
      else if (scan_.take("/"))
        left = joined(Operator::kDivide, *std::move(left), sign());
      else if (scan_.take("%"))
        left = joined(Operator::kRest, *std::move(left), sign());
      else
        break;
    }
    return left;
  }

  Result<Node> sign() {
    const bool minus = scan_.take("-");
    if (!minus && !scan_.take("+")) return raised();
    const Level level(depth_);
    if (level.too_deep()) return scan_.error("it is nested too deeply");
    auto operand = sign();
    if (!operand) return operand;
    Node node;
    if (operand->constant && operand->value) node.value = negative(*operand->value);
    if (operand->worth && real_of(*operand->worth)) node.worth = minus ? negative(*operand->worth) : operand->worth;
    return node;
  }

  Result<Node> raised() {
    auto base = trailed();
    if (!base || !scan_.take("**")) return base;
    return joined(Operator::kPower, *std::move(base), sign());
  }

  static Result<Node> joined(Operator what, const Node& left, Result<Node> right) {
    if (!right) return right;
    Node node;
    if (left.worth && right->worth) node.worth = worked_out(what, *left.worth, *right->worth);
    node.value = node.worth;
    return node;
  }

  /// What stands behind a value: an argument list, an index, a part by its name.
  Result<Node> trailed() {
    auto node = atom();
    while (node) {
      if (scan_.take("("))
        node = call_of(*node);
      else if (scan_.take("["))
        node = index_of(*node);
      else if (dotted())
        node = part_of(*node);
      else
        break;
    }
    return node;
  }

  bool dotted() {
    scan_.skip_blanks();
    return scan_.peek() == '.' && scan_.peek(1) != '.' && scan_.take(".");
  }

  Result<Node> part_of(const Node& whole) {
    scan_.skip_blanks();
    if (!scan_.at_name()) return scan_.error("a name was expected");
    const std::string name = scan_.name();
    if (is_keyword(name)) return scan_.error(quote(name) + " cannot be a name");
    plain_name_ = false;
    Node node;
    if (whole.text) node.text = *whole.text + "." + name;
    return node;
  }

  Result<Node> index_of(const Node& whole) {
    auto index = expression();
    if (!index) return index;
    if (!scan_.take("]")) return scan_.error("']' was expected");
    plain_name_ = false;
    Node node;
    if (whole.text && index->text) node.text = *whole.text + "[" + *index->text + "]";
    if (node.text) node.value = Value{*node.text};
    return node;
  }

  Result<Node> call_of(const Node& function) {
    Call call;
    // A name with parts: of a called function's function it is the last part alone, which is no function here.
    if (!function.text || function.constant || function.call) return scan_.error("this is no function's name");
    call.name = *function.text;
    std::optional<std::string> written = call.name + "(";
    bool named = false;
    for (bool first = true; !scan_.take(")"); first = false) {
      scan_.skip_blanks();
      if (scan_.peek() == '*') return scan_.error("arguments in a variable are not read");
      auto value = argument();
      if (!value) return value;
      scan_.skip_blanks();
      if (scan_.peek() == '=' && scan_.peek(1) != '=') {
        if (!value->text || !plain_name_) return scan_.error("an argument's name was expected before '='");
        const std::string name = *std::move(value->text);
        scan_.take("=");
        value = expression();
        if (!value) return value;
        if (!value->value) return scan_.error("the argument " + quote(name) + " has no value that can be told");
        call.arguments.set(Value{name}, *std::move(value->value));
        named = true;
      } else {
        if (named) return scan_.error("an argument without a name stands behind one with a name");
        if (value->text && written)
          *written += (first ? "" : ", ") + *value->text;
        else
          written.reset();
      }
      if (!scan_.take(",") && !(scan_.skip_blanks(), scan_.peek() == ')'))
        return scan_.error("',' or ')' was expected");
    }
    plain_name_ = false;
    Node node;
    if (named) {
      Dict dict;
      dict.set(Value{call.name}, Value{call.arguments});
      node.value = Value{std::move(dict)};
    } else if (written) {
      node.text = *written + ")";
      node.value = Value{*node.text};
    }
    node.call = std::move(call);
    return node;
  }

  Result<Node> atom() {
    scan_.skip_blanks();
    plain_name_ = false;
    if (scan_.at_text()) {
      auto text = scan_.text();
      if (!text) return text.error();
      Node node = constant(Value{*text});
      node.text = python_text(*text);
      return node;
    }
    if (scan_.at_number()) {
      auto number = scan_.number();
      if (!number) return number.error();
      return constant(*std::move(number));
    }
    if (scan_.take("...")) return constant(Value{std::string("...")});
    if (scan_.take("[")) return list();
    if (scan_.take("(")) return in_parentheses();
    if (scan_.take("{")) return dict();
    if (!scan_.at_name()) return scan_.error("a value was expected");
    return word();
  }

  Result<Node> word() {
    const std::string name = scan_.name();
    Node node;
    if (name == "True" || name == "False")
      node = constant(Value{name == "True"});
    else if (name == "None")
      node = constant(Value{});
    else if (is_keyword(name))
      return scan_.error(quote(name) + " cannot stand here");
    else
      node.value = Value{name};
    plain_name_ = !node.constant;
    node.text = name;
    return node;
  }

  /// Up to `close`; whether a comma was there is told.
  Result<std::vector<Node>> items(std::string_view close, bool& comma) {
    std::vector<Node> items;
    comma = false;
    while (!scan_.take(close)) {
      auto one = expression();
      if (!one) return one.error();
      items.push_back(*std::move(one));
      if (scan_.take(","))
        comma = true;
      else if (scan_.skip_blanks(); scan_.peek() != close.front())
        return scan_.error("',' or '" + std::string(close) + "' was expected");
    }
    plain_name_ = false;
    return items;
  }

  /// `open` and `close` as Python writes them.
  static Node together(std::vector<Node> items, const std::string& open, const std::string& close, bool tuple) {
    Node node;
    Values values;
    std::string text = open;
    bool told = true, written = true;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].text)
        text += (i == 0 ? "" : ", ") + *items[i].text;
      else
        written = false;
      if (items[i].value)
        values.push_back(*std::move(items[i].value));
      else
        told = false;
    }
    if (tuple && items.size() == 1) text += ",";
    if (written) node.text = text + close;
    if (told && tuple) node.value = Value{Tuple{std::move(values)}};
    if (told && !tuple) node.value = Value{std::move(values)};
    return node;
  }

  Result<Node> list() {
    bool comma = false;
    auto found = items("]", comma);
    if (!found) return found.error();
    return together(*std::move(found), "[", "]", false);
  }

  Result<Node> in_parentheses() {
    bool comma = false;
    auto found = items(")", comma);
    if (!found) return found.error();
    if (found->size() == 1 && !comma) return std::move(found->front());
    return together(*std::move(found), "(", ")", true);
  }

  Result<Node> dict() {
    Dict dict;
    std::optional<std::string> text = "{";
    bool told = true;
    for (bool first = true; !scan_.take("}"); first = false) {
      auto key = expression();
      if (!key) return key;
      if (!scan_.take(":")) return scan_.error("':' was expected");
      auto value = expression();
      if (!value) return value;
      if (text && key->text && value->text)
        *text += (first ? "" : ", ") + *key->text + ": " + *value->text;
      else
        text.reset();
      if (key->value && value->value && can_be_key(*key->value))
        dict.set(*std::move(key->value), *std::move(value->value));
      else
        told = false;
      if (!scan_.take(",") && !(scan_.skip_blanks(), scan_.peek() == '}'))
        return scan_.error("',' or '}' was expected");
    }
    plain_name_ = false;
    Node node;
    if (text) node.text = *text + "}";
    if (told) node.value = Value{std::move(dict)};
    return node;
  }

  Scanner scan_;
  int depth_ = 0;
  bool plain_name_ = false;  ///< what was read last is a name alone
};

std::string_view stripped(std::string_view text, std::string_view of) {
  const std::size_t from = text.find_first_not_of(of);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(of) - from + 1);
}

std::optional<Call> call_of_json(const nlohmann::ordered_json& json) {
  if (!json.is_object() || json.empty()) return std::nullopt;
  Call call;
  nlohmann::ordered_json arguments;
  if (json.contains("name") && json["name"].is_string()) {
    call.name = json["name"].get<std::string>();
    const char* key = json.contains("arguments") ? "arguments" : "parameters";
    arguments = json.contains(key) ? json[key] : nlohmann::ordered_json::object();
  } else if (json.size() == 1) {
    call.name = json.begin().key();
    arguments = json.begin().value();
  }
  if (arguments.is_string()) arguments = nlohmann::ordered_json::parse(arguments.get<std::string>(), nullptr, false);
  if (!arguments.is_object()) return std::nullopt;
  auto value = value_of(arguments);
  if (!value) return std::nullopt;
  call.arguments = std::get<Dict>(std::move(value->held));
  return call;
}

}  // namespace

Result<std::vector<Call>> read_python_calls(std::string_view answer) {
  std::string text(stripped(answer, "`\n "));
  if (!text.starts_with('[')) text.insert(0, 1, '[');
  if (!text.ends_with(']')) text += ']';
  return Parser(text).calls();
}

Result<std::vector<Call>> read_json_calls(std::string_view answer) {
  auto json = nlohmann::ordered_json::parse(answer, nullptr, false);
  if (json.is_discarded()) return Error{"this is no JSON: " + quote(answer)};
  if (!json.is_array()) json = nlohmann::ordered_json::array({std::move(json)});
  std::vector<Call> calls;
  for (const auto& one : json) {
    auto call = call_of_json(one);
    if (!call)
      return Error{"this is no function call: " +
                   quote(one.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))};
    calls.push_back(*std::move(call));
  }
  return calls;
}

}  // namespace orch::eval
