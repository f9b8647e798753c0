#include "reward/texts.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/text.h"
#include "eval/python_text.h"

namespace orch::reward {
namespace {

using tmpl::is_digit;

std::size_t digits_from(std::string_view text, std::size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

/// Bytes of the sign at `at`, if one stands there.
std::size_t sign_size(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with('-') || rest.starts_with('+')) return 1;
  return rest.starts_with("\u2212") ? 3 : 0;
}

struct NumberAt {
  std::size_t end = 0;
  double value = 0;
};

/// The longest number that begins at `at`.
std::optional<NumberAt> number_at(std::string_view text, std::size_t at) {
  std::string plain;
  if (const std::size_t sign = sign_size(text, at); sign > 0) {
    if (text[at] != '+') plain = "-";
    at += sign;
  }
  std::size_t end = digits_from(text, at);
  const bool has_whole = end > at;
  plain += text.substr(at, end - at);
  if (has_whole && end - at <= 3)
    while (end < text.size() && text[end] == ',' && digits_from(text, end + 1) == end + 4) {
      plain += text.substr(end + 1, 3);
      end += 4;
    }
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
    const std::size_t after = digits_from(text, end + 1);
    plain += text.substr(end, after - end);
    end = after;
  } else if (!has_whole) {
    return std::nullopt;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    const std::size_t sign = end + 1 < text.size() && (text[end + 1] == '-' || text[end + 1] == '+') ? 1 : 0;
    if (const std::size_t after = digits_from(text, end + 1 + sign); after > end + 1 + sign) {
      plain += text.substr(end, after - end);
      end = after;
    }
  }
  NumberAt number{end, 0};
  const auto read = std::from_chars(plain.data(), plain.data() + plain.size(), number.value);
  if (read.ec != std::errc() || read.ptr != plain.data() + plain.size()) number.value = std::nan("");
  return number;
}

bool joins_a_sign(char before) { return tmpl::is_alnum(before) || before == ')' || before == ']' || before == '}'; }

}  // namespace

std::string as_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t sound = utf8_prefix(text);
    out += text.substr(0, sound);
    text.remove_prefix(sound);
    if (text.empty()) break;
    out += "\uFFFD";
    text.remove_prefix(1);
  }
  return out;
}

std::optional<double> number_of(std::string_view text) {
  text = eval::python_strip(text);
  for (const std::string_view currency : {"$", "€", "£"})
    if (text.starts_with(currency)) {
      text.remove_prefix(currency.size());
      break;
    }
  if (text.empty()) return std::nullopt;
  const auto number = number_at(text, 0);
  if (!number || !std::isfinite(number->value)) return std::nullopt;
  const std::string_view rest = text.substr(number->end);
  return rest.empty() || rest == "." ? std::optional(number->value) : std::nullopt;
}

std::optional<std::string_view> last_number(std::string_view text) {
  std::optional<std::string_view> last;
  for (std::size_t at = 0; at < text.size();) {
    // A sign or a point that belongs to what stands before it begins nothing.
    const std::size_t sign = sign_size(text, at);
    const bool is_joined =
        at > 0 && ((sign > 0 && joins_a_sign(text[at - 1])) || (text[at] == '.' && is_digit(text[at - 1])));
    const auto number =
        is_joined || (sign == 0 && text[at] != '.' && !is_digit(text[at])) ? std::nullopt : number_at(text, at);
    if (number && std::isfinite(number->value)) last = text.substr(at, number->end - at);
    at = number ? number->end : at + 1;
  }
  return last;
}

double repeated_share(std::string_view text, int words) {
  // Runs are numbered: those of one more word by the pair of the run before and the word that comes.
  std::vector<std::size_t> word_numbers;
  std::map<std::string_view, std::size_t> seen;
  for (std::size_t at = 0; at < text.size();) {
    const auto is_blank = [&](std::size_t i) {
      return tmpl::is_blank(text.substr(i, tmpl::code_point_size(text.substr(i))));
    };
    std::size_t end = at;
    while (end < text.size() && !is_blank(end)) end += tmpl::code_point_size(text.substr(end));
    if (end > at) word_numbers.push_back(seen.try_emplace(text.substr(at, end - at), seen.size()).first->second);
    at = end < text.size() ? end + tmpl::code_point_size(text.substr(end)) : end;
  }
  if (words < 1 || word_numbers.size() < static_cast<std::size_t>(words)) return 0;
  std::vector<std::size_t> runs = word_numbers;
  std::size_t different = seen.size();
  for (std::size_t length = 2; length <= static_cast<std::size_t>(words); ++length) {
    std::map<std::pair<std::size_t, std::size_t>, std::size_t> pairs;
    runs.pop_back();
    for (std::size_t i = 0; i < runs.size(); ++i)
      runs[i] = pairs.try_emplace({runs[i], word_numbers[i + length - 1]}, pairs.size()).first->second;
    different = pairs.size();
  }
  return 1 - static_cast<double>(different) / static_cast<double>(runs.size());
}

}  // namespace orch::reward
