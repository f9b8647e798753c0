// The expressions of a template: what they are worth.
#include <algorithm>
#include <optional>

#include "base/template/access.h"
#include "base/template/filters.h"
#include "base/template/operators.h"
#include "base/template/renderer.h"
#include "base/template/value_tests.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

std::optional<Builtin> builtin_of(std::string_view name) {
  if (name == "range") return Builtin::kRange;
  if (name == "namespace") return Builtin::kNamespace;
  if (name == "dict") return Builtin::kDict;
  if (name == "raise_exception") return Builtin::kRaise;
  return std::nullopt;
}

}  // namespace

Value Renderer::eval(const Expr& expr) {
  const Level level(*this, expr.line, expr.column);
  try {
    budget_.spend(1);
    return evaluated(expr);
  } catch (const Fault& fault) {
    fail(expr, fault.what);
  }
}

Value Renderer::evaluated(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kLiteral:
      return expr.value;
    case Expr::Kind::kName:
      return lookup(expr.text);
    case Expr::Kind::kList:
      return Value::list(all(expr));
    case Expr::Kind::kTuple:
      return Value::tuple(all(expr));
    case Expr::Kind::kDict:
      return dict(expr);
    case Expr::Kind::kAttribute:
      return attribute_of(eval(*expr.items[0]), expr.text, budget_);
    case Expr::Kind::kItem: {
      const Value object = eval(*expr.items[0]);
      return item_of(object, eval(*expr.items[1]), budget_);
    }
    case Expr::Kind::kSlice:
      return slice(expr);
    case Expr::Kind::kCall: {
      const Value function = eval(*expr.items[0]);
      return call(function, arguments(expr));
    }
    case Expr::Kind::kFilter: {
      const Value value = eval(*expr.items[0]);
      return apply_filter(expr.text, value, arguments(expr), budget_);
    }
    case Expr::Kind::kTest: {
      const Value value = eval(*expr.items[0]);
      return Value::boolean(apply_test(expr.text, value, arguments(expr), budget_));
    }
    case Expr::Kind::kUnary:
      return apply_unary(expr.operators[0], eval(*expr.items[0]));
    case Expr::Kind::kBinary: {
      const Value left = eval(*expr.items[0]);
      return apply_binary(expr.operators[0], left, eval(*expr.items[1]), budget_);
    }
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr:
      return both_or_either(expr);
    case Expr::Kind::kConcat:
      return concatenation(expr);
    case Expr::Kind::kCompare:
      return comparison(expr);
    case Expr::Kind::kConditional:
      if (truth(eval(*expr.items[0]))) return eval(*expr.items[1]);
      if (expr.items[2]) return eval(*expr.items[2]);
      return Value::undefined("the condition does not hold, and there is no else", true);
  }
  return {};
}

Value Renderer::lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    const auto found = scope->variables.find(name);
    if (found != scope->variables.end()) return found->second;
  }
  if (const Value* found = values_.find(name)) return *found;
  if (const auto builtin = builtin_of(name)) return Value(Value::Held(*builtin));
  if (options_.chat && now_ && name == "strftime_now") return Value(Value::Held(Builtin::kStrftimeNow));
  std::string what = quote(name) + " is not defined";
  if (options_.strict) {
    std::vector<std::string> known;
    for (const auto& [key, value] : values_.entries) {
      if (known.size() == 50) break;
      known.push_back(key.as_text().substr(0, 100));
    }
    budget_.spend(known.size());
    what += hint(name, known);
  }
  return Value::undefined(std::move(what));
}

std::vector<Value> Renderer::all(const Expr& expr) {
  std::vector<Value> values;
  for (const ExprPtr& item : expr.items) values.push_back(eval(*item));
  return values;
}

Arguments Renderer::arguments(const Expr& expr) {
  Arguments given;
  const std::size_t named = expr.items.size() - expr.names.size();
  for (std::size_t i = 1; i < expr.items.size(); ++i) {
    if (i < named)
      given.values.push_back(eval(*expr.items[i]));
    else
      add_from(expr.names[i - named], eval(*expr.items[i]), given);
  }
  return given;
}

/// The argument of a name, or those that a list (*) or a map (**) gives.
void Renderer::add_from(const std::string& name, const Value& value, Arguments& given) {
  if (name == "*") {
    for (Value& item : budget_.items(value)) given.values.push_back(std::move(item));
    return;
  }
  const auto add = [&](std::string key, const Value& held) {
    for (const auto& [other, unused] : given.named)
      if (other == key) throw Fault{"the argument " + quote(key) + " is given twice"};
    given.named.emplace_back(std::move(key), held);
  };
  if (name != "**") return add(name, value);
  if (!value.is_dict()) throw Fault{"the arguments after ** are a map, not " + kind_of(value)};
  const auto& entries = value.as_dict().entries;
  budget_.spend(entries.size() * (entries.size() + given.named.size()));
  for (const auto& [key, held] : entries) {
    if (!key.is_text()) throw Fault{"an argument is named by a text, not by " + kind_of(key)};
    add(key.as_text(), held);
  }
}

Value Renderer::dict(const Expr& expr) {
  Dict made;
  for (std::size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    Value key = eval(*expr.items[i]);
    made.set(std::move(key), eval(*expr.items[i + 1]));
  }
  return Value::dict(std::move(made));
}

Value Renderer::slice(const Expr& expr) {
  const Value object = eval(*expr.items[0]);
  const auto bound = [&](std::size_t i) -> std::optional<std::int64_t> {
    if (!expr.items[i]) return std::nullopt;
    const Value value = eval(*expr.items[i]);
    if (value.is_none()) return std::nullopt;
    need_defined(value);
    if (!value.is_integer() && !value.is_bool()) throw Fault{"a slice has integers for bounds, not " + kind_of(value)};
    return value.as_integer();
  };
  const auto from = bound(1), to = bound(2);
  return slice_of(object, from, to, bound(3).value_or(1), budget_);
}

Value Renderer::both_or_either(const Expr& expr) {
  Value value;
  for (const ExprPtr& item : expr.items) {
    value = eval(*item);
    if (truth(value) == (expr.kind == Expr::Kind::kOr)) break;
  }
  return value;
}

Value Renderer::concatenation(const Expr& expr) {
  std::string out;
  for (const ExprPtr& item : expr.items) {
    out += budget_.printed(eval(*item));
    budget_.check_size(out.size());
  }
  return budget_.text(std::move(out));
}

Value Renderer::comparison(const Expr& expr) {
  Value left = eval(*expr.items[0]);
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = eval(*expr.items[i + 1]);
    if (!apply_comparison(expr.operators[i], left, right, budget_)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

}  // namespace orch::tmpl
