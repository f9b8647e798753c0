// What single characters are, in ASCII, to the template language and to bash alike.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

namespace orch::tmpl {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_alnum(char c) { return is_alpha(c) || is_digit(c); }
constexpr bool is_name_start(char c) { return is_alpha(c) || c == '_'; }
constexpr bool is_name_char(char c) { return is_alnum(c) || c == '_'; }

/// In bases up to 36; 99 of what is no digit in any of them.
constexpr int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

template <class Words>
bool among(const Words& words, std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

}  // namespace orch::tmpl
