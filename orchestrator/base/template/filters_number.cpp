// Filters that make numbers of values, or act on them: int, float, round, abs, sum.
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/template/access.h"
#include "base/template/characters.h"
#include "base/template/filter_tables.h"
#include "base/template/operators.h"
#include "base/template/value_text.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

/// int(text) of Python: blanks around, a sign, digits grouped by single underscores.
std::optional<std::int64_t> integer_in(std::string_view text, int base) {
  text = trim(text);
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (base != 10 && text.size() > 2 && text[0] == '0') {
    const char mark = lower(text.substr(1, 1))[0];
    if ((base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b')) text.remove_prefix(2);
  }
  std::int64_t value = 0;
  bool digit_before = false;
  for (char c : text) {
    if (c == '_' && digit_before) {
      digit_before = false;
      continue;
    }
    const int digit = digit_value(c);
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, digit, &value))
      throw Fault{"the integer " + quote(text) + " does not fit into 64 bits"};
    digit_before = true;
  }
  if (!digit_before) return std::nullopt;
  if (negative) return value;
  if (value == INT64_MIN) throw Fault{"the integer " + quote(text) + " does not fit into 64 bits"};
  return -value;
}

std::optional<double> float_in(std::string_view text) {
  text = trim(text);
  std::string plain = lower(text);
  if (plain.find("0x") != std::string::npos || plain.find('(') != std::string::npos) return std::nullopt;
  std::string_view digits = plain;
  if (!digits.empty() && digits[0] == '+') digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '+') return std::nullopt;
  double value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (read.ptr != digits.data() + digits.size() || read.ec == std::errc::invalid_argument) return std::nullopt;
  return value;
}

Value whole(double number) {
  if (!std::isfinite(number)) throw Fault{"a number without end has no integer part"};
  if (std::fabs(number) >= 9.2e18) throw Fault{"the number " + float_text(number) + " does not fit into 64 bits"};
  return Value::integer(static_cast<std::int64_t>(number));
}

Value to_integer(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "int", {"default", "base"});
  if (budget.options().chat) need_defined(value);
  const Value otherwise = taken.value(0, Value::integer(0));
  if (value.is_undefined()) return otherwise;
  if (value.is_float()) return std::isfinite(value.as_double()) ? whole(value.as_double()) : otherwise;
  if (value.is_number()) return Value::integer(value.as_integer());
  if (!value.is_text()) return otherwise;
  const std::int64_t base = taken.integer(1, 10);
  if (base < 2 || base > 36) throw Fault{"int: a base lies between 2 and 36"};
  if (const auto number = integer_in(value.as_text(), static_cast<int>(base))) return Value::integer(*number);
  const auto number = float_in(value.as_text());
  return number && std::isfinite(*number) ? whole(*number) : otherwise;
}

Value to_float(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "float", {"default"});
  if (budget.options().chat) need_defined(value);
  if (value.is_number()) return Value::number(value.as_double());
  if (value.is_text())
    if (const auto number = float_in(value.as_text())) return Value::number(*number);
  return taken.value(0, Value::number(0.0));
}

Value rounded(const Value& value, const Arguments& arguments, Budget&) {
  const Taken taken(arguments, "round", {"precision", "method"});
  need_defined(value);
  if (!value.is_number()) throw Fault{"round takes a number, not " + kind_of(value)};
  const std::int64_t digits = taken.integer(0, 0);
  const std::string method = taken.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor")
    throw Fault{"round: 'method' is 'common', 'ceil' or 'floor', not " + quote(method)};
  if (digits < -300 || digits > 300) throw Fault{"round: 'precision' lies between -300 and 300"};
  const double number = value.as_double();
  if (method == "common") {
    if (!value.is_float() && digits >= 0) return Value::integer(value.as_integer());
    if (!std::isfinite(number)) return value;
    if (digits >= 0) {
      char buffer[700];
      std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), number);
      return Value::number(float_in(buffer).value_or(number));
    }
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    const double nearest_even = std::nearbyint(number / scale) * scale;
    return value.is_float() ? Value::number(nearest_even) : whole(nearest_even);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = number * scale;
  return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value sum_of(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "sum", {"attribute", "start"});
  Value total = taken.value(1, Value::integer(0));
  if (total.is_text()) throw Fault{"sum adds no texts; use join"};
  for (const Value& item : budget.items(value)) {
    const Value part = taken.has_some(0) ? by_path(item, taken.need(0), budget) : item;
    total = apply_binary(Operator::kAdd, total, part, budget);
  }
  return total;
}

Value absolute(const Value& value, const Arguments& arguments, Budget&) {
  take_none(arguments, "abs");
  need_defined(value);
  if (!value.is_number()) throw Fault{"abs takes a number, not " + kind_of(value)};
  if (value.is_float()) return Value::number(std::fabs(value.as_double()));
  if (value.as_integer() == INT64_MIN) throw Fault{"the result does not fit into 64 bits"};
  return Value::integer(std::abs(value.as_integer()));
}

}  // namespace

std::span<const Filter> number_filters() {
  static constexpr std::array<Filter, 5> kFilters = {
      {{"int", to_integer}, {"float", to_float}, {"round", rounded}, {"abs", absolute}, {"sum", sum_of}}};
  return kFilters;
}

}  // namespace orch::tmpl
