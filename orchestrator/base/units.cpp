#include "base/units.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/text.h"

namespace orch {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A plain decimal number, digits grouped by `_` allowed; no sign, no hex, no infinity. What follows it is left in
/// `text`.
std::optional<double> take_number(std::string_view& text) {
  std::string digits;
  std::size_t used = 0;
  bool point = false;
  for (; used < text.size(); ++used) {
    const char c = text[used];
    if (is_digit(c)) {
      digits += c;
    } else if (c == '.' && !point) {
      point = true;
      digits += c;
    } else if (c == '_' && used > 0 && is_digit(text[used - 1]) && used + 1 < text.size() && is_digit(text[used + 1])) {
      continue;
    } else {
      break;
    }
  }
  if (digits.empty() || digits == ".") return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value)) return std::nullopt;
  text.remove_prefix(used);
  return value;
}

struct Unit {
  std::string_view name;
  double factor;
};

template <std::size_t N>
std::optional<double> unit_factor(std::string_view name, const Unit (&units)[N]) {
  const std::string wanted = lower(name);
  for (const Unit& unit : units)
    if (unit.name == wanted) return unit.factor;
  return std::nullopt;
}

template <std::size_t N>
std::optional<double> number_with_unit(std::string_view text, const Unit (&units)[N]) {
  text = trim(text);
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  const auto factor = unit_factor(trim(text), units);
  if (!factor || !std::isfinite(*number * *factor)) return std::nullopt;
  return *number * *factor;
}

/// `[days-]h:m:s`, `m:s`, `days-h`, `days-h:m`.
std::optional<double> clock_time(std::string_view text) {
  double days = 0;
  bool with_days = false;
  if (const std::size_t dash = text.find('-'); dash != std::string_view::npos) {
    std::string_view head = text.substr(0, dash);
    const auto value = take_number(head);
    if (!value || !head.empty() || *value != std::floor(*value)) return std::nullopt;
    days = *value;
    with_days = true;
    text.remove_prefix(dash + 1);
  }
  std::vector<double> parts;
  for (std::string_view part : split(text, ':')) {
    const auto value = take_number(part);
    if (!value || !part.empty() || *value != std::floor(*value)) return std::nullopt;
    parts.push_back(*value);
  }
  if (parts.size() > 3 || (!with_days && parts.size() < 2)) return std::nullopt;
  // After days the first part is hours; without them two parts are minutes and seconds.
  const bool minutes_lead = !with_days && parts.size() == 2;
  if (!minutes_lead) {
    parts.resize(3);
  } else {
    parts.insert(parts.begin(), 0.0);
  }
  // The largest part that is written may be past its round: 90:00 is an hour and a half.
  for (std::size_t i = minutes_lead ? 2 : 1; i < parts.size(); ++i)
    if (parts[i] >= 60) return std::nullopt;
  if (with_days && parts[0] >= 24) return std::nullopt;
  const double seconds = ((days * 24 + parts[0]) * 60 + parts[1]) * 60 + parts[2];
  return std::isfinite(seconds) ? std::optional(seconds) : std::nullopt;
}

std::string scaled(double value, const char* const* names, int count, double step) {
  int at = 0;
  // 999.5 would be printed as 1,000 of the smaller unit.
  while (at + 1 < count && value >= step * 0.9995) {
    value /= step;
    ++at;
  }
  char buffer[64];
  const int decimals = at == 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
  std::string text = buffer;
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  return text + names[at];
}

}  // namespace

std::optional<double> parse_count(std::string_view text) {
  static constexpr Unit kUnits[] = {{"", 1}, {"k", 1e3}, {"m", 1e6}, {"b", 1e9}, {"g", 1e9}, {"t", 1e12}};
  auto count = number_with_unit(text, kUnits);
  // 8.03 × 10⁹ is not a whole number in binary, though 8.03B is meant to be one.
  if (count && *count >= 1e6 && *count < 1e15) count = std::round(*count);
  return count;
}

std::optional<double> parse_bytes(std::string_view text) {
  static constexpr Unit kUnits[] = {
      {"", 1},     {"b", 1},    {"kb", 1e3},        {"mb", 1e6},   {"gb", 1e9},   {"tb", 1e12},  {"k", kKiB},
      {"m", kMiB}, {"g", kGiB}, {"t", kGiB * 1024}, {"kib", kKiB}, {"mib", kMiB}, {"gib", kGiB}, {"tib", kGiB * 1024}};
  return number_with_unit(text, kUnits);
}

std::optional<double> parse_rate(std::string_view text) {
  static constexpr Unit kBits[] = {{"bit", 0.125}, {"kbit", 125}, {"mbit", 125e3}, {"gbit", 125e6}, {"tbit", 125e9}};
  text = trim(text);
  if (text.ends_with("/s")) text = trim(text.substr(0, text.size() - 2));
  if (const auto bits = number_with_unit(text, kBits)) return bits;
  if (text.ends_with('b')) return std::nullopt;
  return parse_bytes(text);
}

std::optional<double> parse_duration(std::string_view text) {
  static constexpr Unit kUnits[] = {{"ms", 1e-3}, {"s", 1},    {"sec", 1},   {"m", 60},
                                    {"min", 60},  {"h", 3600}, {"d", 86400}, {"w", 7 * 86400}};
  text = trim(text);
  if (text.find_first_of(":-") != std::string_view::npos) return clock_time(text);
  double total = 0, last_factor = 1e300;
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    text = trim(text);
    std::size_t length = 0;
    while (length < text.size() && ((text[length] | 32) >= 'a' && (text[length] | 32) <= 'z')) ++length;
    const auto factor = unit_factor(text.substr(0, length), kUnits);
    // Units must shrink from left to right: `1h30m`, not `30m1h` and not `1h2h`.
    if (!factor || *factor >= last_factor) return std::nullopt;
    last_factor = *factor;
    total += *number * *factor;
    text = trim(text.substr(length));
  }
  if (last_factor == 1e300 || !std::isfinite(total)) return std::nullopt;
  return total;
}

std::string format_count(double count) {
  static constexpr const char* kNames[] = {"", "k", "M", "B", "T"};
  return scaled(count, kNames, 5, 1000);
}

std::string format_bytes(double bytes) {
  static constexpr const char* kNames[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  return scaled(bytes, kNames, 5, 1024);
}

std::string format_duration(double seconds) {
  char buffer[64];
  if (!(seconds >= 0)) return "unknown";
  if (seconds < 59.5) {
    std::snprintf(buffer, sizeof buffer, seconds < 9.95 && seconds != std::floor(seconds) ? "%.1f s" : "%.0f s",
                  seconds);
    return buffer;
  }
  if (seconds > 1e15) return "forever";
  const auto minutes = static_cast<long long>(std::llround(seconds / 60));
  if (minutes < 60) return std::to_string(minutes) + " min";
  if (minutes < 48 * 60) {
    const long long rest = minutes % 60;
    return std::to_string(minutes / 60) + " h" + (rest ? " " + std::to_string(rest) + " min" : "");
  }
  const auto hours = static_cast<long long>(std::llround(seconds / 3600));
  return grouped(hours / 24) + " d" + (hours % 24 ? " " + std::to_string(hours % 24) + " h" : "");
}

std::string format_slurm_time(std::int64_t seconds) {
  char buffer[64];
  seconds = std::max<std::int64_t>(0, seconds);
  const long long days = seconds / 86400, rest = seconds % 86400;
  if (days > 0)
    std::snprintf(buffer, sizeof buffer, "%lld-%02lld:%02lld:%02lld", days, rest / 3600, rest / 60 % 60, rest % 60);
  else
    std::snprintf(buffer, sizeof buffer, "%02lld:%02lld:%02lld", rest / 3600, rest / 60 % 60, rest % 60);
  return buffer;
}

std::string format_fixed(double value, int decimals) {
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
  std::string text = buffer;
  if (text.front() == '-' && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return text;
}

std::string grouped(long long value) {
  std::string digits = std::to_string(value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

}  // namespace orch
