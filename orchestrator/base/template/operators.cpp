#include "base/template/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/template/formatting.h"
#include "base/template/safe_text.h"

namespace orch::tmpl {
namespace {

void need_number(const Value& value, std::string_view what) {
  need_defined(value);
  if (!value.is_number()) throw Fault{std::string(what) + " takes numbers, not " + kind_of(value)};
}

[[noreturn]] void overflow() { throw Fault{"the result does not fit into 64 bits"}; }

bool is_count(const Value& value) { return value.is_integer() || value.is_bool(); }

/// a + b of texts and lists; nothing when it is a matter of numbers.
std::optional<Value> joined(const Value& a, const Value& b, Budget& budget) {
  if (a.is_text() && b.is_text() && (a.is_safe() || b.is_safe())) {
    std::string text = escaped_value(a, budget) + escaped_value(b, budget);
    return budget.text(std::move(text)).as_safe();
  }
  if (a.is_text() && b.is_text()) {
    budget.check_size(a.as_text().size() + b.as_text().size());
    return budget.text(a.as_text() + b.as_text());
  }
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    auto items = budget.items(a);
    const auto more = budget.items(b);
    items.insert(items.end(), more.begin(), more.end());
    return a.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  if (a.is_text() || b.is_text())
    throw Fault{"cannot add " + kind_of(a) + " and " + kind_of(b) + "; use ~ to join their texts"};
  return std::nullopt;
}

Value repeated(const Value& value, std::int64_t times, Budget& budget) {
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  const std::size_t size = value.is_text() ? value.as_text().size() : value.as_list().items.size();
  if (size && count > budget.options().most_output / size) throw Fault{"the repeated value would be too long"};
  if (value.is_text()) {
    std::string out;
    out.reserve(size * count);
    for (std::uint64_t i = 0; size && i < count; ++i) out += value.as_text();
    return budget.text(std::move(out)).as_safe(value.is_safe());
  }
  budget.spend(size * count);
  std::vector<Value> items;
  for (std::uint64_t i = 0; size && i < count; ++i)
    items.insert(items.end(), value.as_list().items.begin(), value.as_list().items.end());
  return value.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

/// a // b or a % b: rounded down, and with the sign of b.
double float_division(Operator op, double a, double b) {
  if (b == 0) throw Fault{"division by zero"};
  double rest = std::fmod(a, b);
  double whole = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      whole -= 1;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == Operator::kModulo) return rest;
  if (whole == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(whole);
  return whole - floor > 0.5 ? floor + 1 : floor;
}

double float_arithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return a + b;
    case Operator::kSubtract:
      return a - b;
    case Operator::kMultiply:
      return a * b;
    case Operator::kPower: {
      if (a == 0 && b < 0) throw Fault{"0 has no negative power"};
      const double out = std::pow(a, b);
      if (std::isnan(out) && !std::isnan(a) && !std::isnan(b)) throw Fault{"a negative number has no such power"};
      if (std::isinf(out) && std::isfinite(a) && std::isfinite(b)) throw Fault{"the result is too large for a number"};
      return out;
    }
    default:
      return float_division(op, a, b);
  }
}

/// a ** b for b from 0.
std::int64_t integer_power(std::int64_t a, std::int64_t b) {
  std::int64_t out = 1;
  for (std::int64_t left = b; left > 0;) {
    if ((left & 1) != 0 && __builtin_mul_overflow(out, a, &out)) overflow();
    left >>= 1;
    if (left > 0 && __builtin_mul_overflow(a, a, &a)) overflow();
  }
  return out;
}

Value integer_arithmetic(Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &out)) overflow();
      break;
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &out)) overflow();
      break;
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &out)) overflow();
      break;
    case Operator::kFloorDivide:
      if (b == 0) throw Fault{"division by zero"};
      if (a == INT64_MIN && b == -1) overflow();
      out = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      break;
    case Operator::kModulo:
      if (b == 0) throw Fault{"division by zero"};
      if (b == -1) break;
      out = a % b;
      if (out != 0 && (out < 0) != (b < 0)) out += b;
      break;
    case Operator::kPower:
      if (b < 0) return Value::number(float_arithmetic(op, static_cast<double>(a), static_cast<double>(b)));
      out = integer_power(a, b);
      break;
    default:
      break;
  }
  return Value::integer(out);
}

}  // namespace

Value apply_unary(Operator op, const Value& value) {
  if (op == Operator::kNot) return Value::boolean(!truth(value));
  need_number(value, "a sign");
  if (value.is_float()) return Value::number(op == Operator::kNegate ? -value.as_double() : value.as_double());
  if (op == Operator::kKeepSign) return Value::integer(value.as_integer());
  std::int64_t out = 0;
  if (__builtin_sub_overflow(std::int64_t{0}, value.as_integer(), &out)) overflow();
  return Value::integer(out);
}

Value apply_binary(Operator op, const Value& a, const Value& b, Budget& budget) {
  need_defined(a);
  if (op == Operator::kModulo && a.is_text())
    return budget.text(percent_formatted(a.as_text(), b, budget, a.is_safe())).as_safe(a.is_safe());
  need_defined(b);
  if (op == Operator::kAdd)
    if (auto sum = joined(a, b, budget)) return *std::move(sum);
  if (op == Operator::kMultiply) {
    if ((b.is_text() || b.is_list()) && is_count(a)) return repeated(b, a.as_integer(), budget);
    if ((a.is_text() || a.is_list()) && is_count(b)) return repeated(a, b.as_integer(), budget);
  }
  need_number(a, "arithmetic");
  need_number(b, "arithmetic");
  if (op == Operator::kDivide) {
    if (b.as_double() == 0) throw Fault{"division by zero"};
    return Value::number(a.as_double() / b.as_double());
  }
  if (a.is_float() || b.is_float()) return Value::number(float_arithmetic(op, a.as_double(), b.as_double()));
  return integer_arithmetic(op, a.as_integer(), b.as_integer());
}

bool apply_comparison(Operator op, const Value& a, const Value& b, Budget& budget) {
  if (op == Operator::kEqual) return budget.equals(a, b);
  if (op == Operator::kNotEqual) return !budget.equals(a, b);
  if (op == Operator::kIn) return budget.contains(b, a);
  if (op == Operator::kNotIn) return !budget.contains(b, a);
  const int way = budget.order(a, b);
  // A number that is none is neither above nor below another.
  for (const Value* value : {&a, &b})
    if (value->is_float() && std::isnan(value->as_double())) return false;
  switch (op) {
    case Operator::kLess:
      return way < 0;
    case Operator::kLessEqual:
      return way <= 0;
    case Operator::kGreater:
      return way > 0;
    default:
      return way >= 0;
  }
}

}  // namespace orch::tmpl
