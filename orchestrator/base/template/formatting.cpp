#include "base/template/formatting.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/template/safe_text.h"
#include "base/template/value_text.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::int64_t kMostPrecision = 300;

/// What stands after the colon of a field, or after a percent sign.
struct Spec {
  std::string fill = " ";
  char align = 0;  ///< < > ^ =, or none
  char sign = '-';
  bool alternate = false;
  bool zeros = false;
  std::int64_t width = 0;
  char grouping = 0;
  std::optional<std::int64_t> precision;
  char type = 0;
};

/// The number at `at`, which moves past it.
std::int64_t number_at(std::string_view text, std::size_t& at) {
  std::int64_t number = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    number = number * 10 + (text[at] - '0');
    if (number > 1'000'000'000) throw Fault{"a width or place of more than 1,000,000,000"};
  }
  return number;
}

std::int64_t precision_at(std::string_view text, std::size_t& at) {
  const std::int64_t precision = number_at(text, at);
  if (precision > kMostPrecision) throw Fault{"a precision of more than " + std::to_string(kMostPrecision)};
  return precision;
}

Spec spec_of(std::string_view text) {
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  Spec spec;
  std::size_t at = 0;
  const std::size_t first = text.empty() ? 0 : code_point_size(text);
  if (first && first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (first && is_align(text[0])) {
    spec.align = text[0];
    at = 1;
  }
  const auto skip = [&](char c) { return at < text.size() && text[at] == c && (++at, true); };
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
  spec.alternate = skip('#');
  spec.zeros = skip('0');
  spec.width = number_at(text, at);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (skip('.')) {
    if (at >= text.size() || !is_digit(text[at])) throw Fault{"a precision is missing in the format " + quote(text)};
    spec.precision = precision_at(text, at);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) throw Fault{"the format " + quote(text) + " is not understood"};
  if (spec.zeros && spec.grouping) throw Fault{"the format " + quote(text) + " fills with zeros and groups at once"};
  if (spec.zeros && !spec.align) {
    spec.fill = "0";
    spec.align = '=';
  }
  return spec;
}

/// `lead`, a sign and a prefix, then `body`, in the width; `otherwise` is how it is aligned unless the format says.
std::string placed(const Spec& spec, std::string_view lead, std::string_view body, char otherwise, Budget& budget) {
  const auto size = static_cast<std::int64_t>(lead.size() + count_code_points(body));
  const std::int64_t blank = std::max<std::int64_t>(spec.width - size, 0);
  budget.check_size(static_cast<std::size_t>(blank) * spec.fill.size());
  const char align = spec.align ? spec.align : otherwise;
  const std::int64_t left = align == '<' ? 0 : align == '^' ? blank / 2 : blank;
  const auto filled = [&](std::int64_t count) {
    std::string out;
    for (std::int64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  std::string out;
  if (align == '=') return out.append(lead).append(filled(blank)).append(body);
  return out.append(filled(left)).append(lead).append(body).append(filled(blank - left));
}

std::string sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

/// Digits with a separator between each three (or `size`), counted from their right.
std::string grouped_digits(std::string_view digits, char separator, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % size == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string integer_text(std::int64_t value, const Spec& spec, Budget& budget) {
  if (spec.precision) throw Fault{"an integer is written without a precision"};
  const char type = spec.type ? spec.type : 'd';
  if (type == 'c') {
    if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      throw Fault{std::to_string(value) + " is the number of no character"};
    std::string out;
    append_code_point(out, static_cast<std::int32_t>(value));
    return placed(spec, "", out, '<', budget);
  }
  const int base = type == 'd' ? 10 : type == 'b' ? 2 : type == 'o' ? 8 : 16;
  std::array<char, 72> buffer{};
  // The magnitude of the least integer fits without a sign.
  const auto magnitude = value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base).ptr;
  std::string digits(buffer.data(), end);
  if (type == 'X')
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c; });
  if (spec.grouping == ',' && base != 10) throw Fault{"only decimal digits are grouped by commas"};
  if (spec.grouping) digits = grouped_digits(digits, spec.grouping, base == 10 ? 3 : 4);
  std::string lead = sign_of(value < 0, spec.sign);
  if (spec.alternate && base != 10) lead += std::string("0") + type;
  return placed(spec, lead, digits, '>', budget);
}

std::string float_digits(double magnitude, char type, int precision, bool alternate) {
  const std::string pattern = std::string(alternate ? "%#.*" : "%.*") + type;
  std::array<char, 800> buffer{};  // 309 digits before the point at most, and the precision after it
  const int size = std::snprintf(buffer.data(), buffer.size(), pattern.c_str(), precision, magnitude);
  return {buffer.data(), static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(buffer.size()) - 1))};
}

std::string number_text(double value, const Spec& spec, Budget& budget) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::fabs(value);
  const std::string lead = sign_of(negative, spec.sign);
  const char type = spec.type;
  const bool is_capital = type == 'F' || type == 'E' || type == 'G';
  if (!std::isfinite(value)) {
    std::string word = std::isnan(value) ? "nan" : "inf";
    if (is_capital) word = upper_text(word);
    if (type == '%') word += '%';
    return placed(spec, lead, word, '>', budget);
  }
  std::string digits;
  if (!type && !spec.precision)
    digits = float_text(magnitude);
  else if (!type)
    throw Fault{"a number with a precision needs a type too, such as 'f' in '.2f'"};
  else if (type == '%')
    digits = float_digits(magnitude * 100, 'f', static_cast<int>(spec.precision.value_or(6)), spec.alternate) + "%";
  else
    digits =
        float_digits(magnitude, type == 'n' ? 'g' : type, static_cast<int>(spec.precision.value_or(6)), spec.alternate);
  if (spec.grouping) {
    const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
    digits = grouped_digits(digits.substr(0, whole), spec.grouping, 3) + digits.substr(whole);
  }
  return placed(spec, lead, digits, '>', budget);
}

bool is_one_of(char type, std::string_view types) { return types.find(type) != std::string_view::npos; }

/// format(value, spec) of Python.
std::string field_text(const Value& value, std::string_view text, Budget& budget) {
  if (text.empty()) return budget.printed(value);
  need_defined(value);
  const Spec spec = spec_of(text);
  if (value.is_text()) {
    if ((spec.type && spec.type != 's') || spec.align == '=' || spec.sign != '-' || spec.alternate || spec.grouping)
      throw Fault{"the format " + quote(text) + " is not one of a text"};
    std::string_view shown = value.as_text();
    const auto points = code_points(shown);
    if (spec.precision && static_cast<std::size_t>(*spec.precision) < points.size())
      shown = whole_of(points, 0, static_cast<std::size_t>(*spec.precision));
    return placed(spec, "", shown, '<', budget);
  }
  if (!value.is_number()) throw Fault{kind_of(value) + " takes no format; found " + quote(text)};
  const bool as_float = value.is_float() || is_one_of(spec.type, "eEfFgG%");
  if (!is_one_of(spec.type, as_float ? std::string_view("\0eEfFgG%n", 9) : std::string_view("\0bcdoxXn", 8)))
    throw Fault{"the format " + quote(text) + " is not one of " + kind_of(value)};
  return as_float ? number_text(value.as_double(), spec, budget) : integer_text(value.as_integer(), spec, budget);
}

std::string converted(const Value& value, char conversion, Budget& budget) {
  if (conversion == 's') return budget.printed(value);
  budget.spend(value.weight());
  return to_repr(value, budget.options().most_output);
}

/// The value of a field's name: a number, a name, or nothing for the next.
const Value& argument_of(std::string_view name, const Arguments& given, std::size_t& next) {
  const auto counted_argument = [&](std::size_t i) -> const Value& {
    if (i < given.values.size()) return given.values[i];
    throw Fault{"format: there is no argument " + std::to_string(i)};
  };
  if (name.empty()) return counted_argument(next++);
  if (std::all_of(name.begin(), name.end(), is_digit)) {
    std::size_t at = 0;
    return counted_argument(static_cast<std::size_t>(number_at(name, at)));
  }
  for (const auto& [key, value] : given.named)
    if (key == name) return value;
  if (name.find_first_of(".[") != std::string_view::npos)
    throw Fault{"format: what is inside a value (" + quote(name) + ") is not reached; give it as an argument"};
  throw Fault{"format: there is no argument " + quote(name)};
}

std::string percent_field(const Value& value, char type, Spec spec, Budget& budget) {
  if (type == 's' || type == 'r' || type == 'a') {
    if (type == 'a') throw Fault{"%a is not part of this language"};
    std::string text = converted(value, type, budget);
    const auto points = code_points(text);
    if (spec.precision && static_cast<std::size_t>(*spec.precision) < points.size())
      text = std::string(whole_of(points, 0, static_cast<std::size_t>(*spec.precision)));
    if (spec.align == '=') spec.align = 0;
    if (spec.fill == "0") spec.fill = " ";
    return placed(spec, "", text, '>', budget);
  }
  if (type == 'c' && value.is_text()) {
    if (count_code_points(value.as_text()) != 1) throw Fault{"%c takes one character"};
    return placed(spec, "", value.as_text(), '>', budget);
  }
  need_defined(value);
  if (!value.is_number()) throw Fault{std::string("%") + type + " takes a number, not " + kind_of(value)};
  spec.type = type == 'i' || type == 'u' ? 'd' : type;
  if (is_one_of(type, "eEfFgG")) return number_text(value.as_double(), spec, budget);
  if (!is_one_of(type, "diuoxXc")) throw Fault{std::string("%") + type + " means nothing"};
  if (spec.precision) throw Fault{"an integer is written without a precision"};
  if (!value.is_float()) return integer_text(value.as_integer(), spec, budget);
  if (spec.type != 'd') throw Fault{std::string("%") + type + " takes an integer, not a number"};
  if (!std::isfinite(value.as_double()) || std::fabs(value.as_double()) >= 9.2e18)
    throw Fault{"the number does not fit into 64 bits"};
  return integer_text(static_cast<std::int64_t>(value.as_double()), spec, budget);
}

/// The flags, width and precision after a percent sign.
Spec percent_spec(std::string_view pattern, std::size_t& at) {
  Spec spec;
  for (; at < pattern.size() && is_one_of(pattern[at], "-+ #0"); ++at) {
    if (pattern[at] == '-') spec.align = '<';
    if (pattern[at] == '+' || (pattern[at] == ' ' && spec.sign == '-')) spec.sign = pattern[at];
    if (pattern[at] == '#') spec.alternate = true;
    if (pattern[at] == '0') spec.zeros = true;
  }
  if (spec.zeros && !spec.align) {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = number_at(pattern, at);
  if (at < pattern.size() && pattern[at] == '.') spec.precision = precision_at(pattern, ++at);
  return spec;
}

}  // namespace

std::string formatted(std::string_view pattern, const Arguments& given, Budget& budget, bool escaping) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < pattern.size();) {
    const char c = pattern[at];
    if ((c == '{' || c == '}') && at + 1 < pattern.size() && pattern[at + 1] == c) {
      out += c;
      at += 2;
      continue;
    }
    if (c == '}') throw Fault{"format: a single '}' in the pattern; write '}}'"};
    if (c != '{') {
      out += c;
      ++at;
      continue;
    }
    const std::size_t end = pattern.find('}', at);
    if (end == std::string_view::npos) throw Fault{"format: a '{' that is not closed; write '{{' for the character"};
    std::string_view field = pattern.substr(at + 1, end - at - 1);
    if (field.find('{') != std::string_view::npos)
      throw Fault{"format: a field in a field is not part of this language"};
    at = end + 1;
    std::string_view spec;
    if (const std::size_t colon = field.find(':'); colon != std::string_view::npos) {
      spec = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    char conversion = 0;
    if (const std::size_t mark = field.find('!'); mark != std::string_view::npos) {
      if (mark + 2 != field.size() || (field[mark + 1] != 's' && field[mark + 1] != 'r'))
        throw Fault{"format: only !s and !r convert a value"};
      conversion = field[mark + 1];
      field = field.substr(0, mark);
    }
    const Value& value = argument_of(field, given, next);
    const std::string text =
        field_text(conversion ? Value::text(converted(value, conversion, budget)) : value, spec, budget);
    const bool is_safe = value.is_safe() && !conversion;
    if (escaping && is_safe && !spec.empty()) throw Fault{"format: a marked text takes no format in another"};
    out += escaping && !is_safe ? escaped_text(text) : text;
    budget.check_size(out.size());
  }
  return out;
}

std::string percent_formatted(std::string_view pattern, const Value& given, Budget& budget, bool escaping) {
  const bool is_tuple = given.is_list() && given.as_list().is_tuple;
  std::size_t used = 0;
  bool by_name = false;
  const auto next_value = [&]() -> const Value& {
    if (is_tuple && used < given.as_list().items.size()) return given.as_list().items[used++];
    if (is_tuple || used++ > 0) throw Fault{"the pattern has more places than there are values"};
    return given;
  };
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '%') {
      out += pattern[at++];
      continue;
    }
    ++at;
    if (at < pattern.size() && pattern[at] == '%') {
      out += pattern[at++];
      continue;
    }
    const Value* named = nullptr;
    if (at < pattern.size() && pattern[at] == '(') {
      const std::size_t end = pattern.find(')', at);
      if (end == std::string_view::npos || !given.is_dict()) throw Fault{"%(name) needs its ')' and a map of values"};
      named = given.as_dict().find(pattern.substr(at + 1, end - at - 1));
      if (!named) throw Fault{"the map of values has no " + quote(pattern.substr(at + 1, end - at - 1))};
      by_name = true;
      at = end + 1;
    }
    const Spec spec = percent_spec(pattern, at);
    if (at >= pattern.size()) throw Fault{"the pattern ends in the middle of a place for a value"};
    const char type = pattern[at++];
    const Value& value = named ? *named : next_value();
    const bool escapes = escaping && !(value.is_safe() && type == 's') && (type == 's' || type == 'r');
    out += escapes ? percent_field(Value::text(escaped_text(converted(value, type, budget))), 's', spec, budget)
                   : percent_field(value, type, spec, budget);
    budget.check_size(out.size());
  }
  // Python takes whatever has items, but for texts and tuples, for a map.
  const bool may_be_map = given.is_dict() || given.is_list() || given.view() || given.is_undefined();
  const bool all_used = is_tuple ? used == given.as_list().items.size() : used > 0 || may_be_map || by_name;
  if (!all_used) throw Fault{"the pattern has no place for some of the values"};
  return out;
}

std::string time_text(std::string_view pattern, std::chrono::local_seconds now) {
  static constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                            "Thursday", "Friday", "Saturday"};
  static constexpr std::array<std::string_view, 12> kMonths = {"January",   "February", "March",    "April",
                                                               "May",       "June",     "July",     "August",
                                                               "September", "October",  "November", "December"};
  const auto day = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{now - day};
  const auto weekday = std::chrono::weekday{day}.c_encoding();
  const auto month = static_cast<unsigned>(date.month());
  const auto hour = static_cast<int>(time.hours().count());
  const auto day_of_year =
      static_cast<int>((day - std::chrono::local_days{date.year() / std::chrono::January / 1}).count()) + 1;
  bool padded = true;
  const auto number = [&](int value, int width, char fill = '0') {
    std::string digits = std::to_string(value);
    if (padded && digits.size() < static_cast<std::size_t>(width))
      digits.insert(0, static_cast<std::size_t>(width) - digits.size(), fill);
    return digits;
  };
  const auto one = [&](char letter) -> std::string {
    switch (letter) {
      case '%':
        return "%";
      case 'Y':
        return std::to_string(static_cast<int>(date.year()));
      case 'y':
        return number(static_cast<int>(date.year()) % 100, 2);
      case 'm':
        return number(static_cast<int>(month), 2);
      case 'd':
        return number(static_cast<int>(static_cast<unsigned>(date.day())), 2);
      case 'e':
        return number(static_cast<int>(static_cast<unsigned>(date.day())), 2, ' ');
      case 'H':
        return number(hour, 2);
      case 'I':
        return number((hour + 11) % 12 + 1, 2);
      case 'M':
        return number(static_cast<int>(time.minutes().count()), 2);
      case 'S':
        return number(static_cast<int>(time.seconds().count()), 2);
      case 'j':
        return number(day_of_year, 3);
      case 'p':
        return hour < 12 ? "AM" : "PM";
      case 'A':
        return std::string(kDays[weekday]);
      case 'a':
        return std::string(kDays[weekday].substr(0, 3));
      case 'B':
        return std::string(kMonths[month - 1]);
      case 'b':
        return std::string(kMonths[month - 1].substr(0, 3));
      case 'F':
        return time_text("%Y-%m-%d", now);
      case 'T':
        return time_text("%H:%M:%S", now);
      default:
        throw Fault{"strftime_now: %" + std::string(1, letter) + " is not known"};
    }
  };
  std::string out;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] != '%') {
      out += pattern[at];
      continue;
    }
    padded = at + 1 >= pattern.size() || pattern[at + 1] != '-';
    if (!padded) ++at;
    if (++at >= pattern.size()) throw Fault{"strftime_now: the format ends with '%'"};
    out += one(pattern[at]);
  }
  return out;
}

}  // namespace orch::tmpl
