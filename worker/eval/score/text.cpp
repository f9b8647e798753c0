#include "eval/score/text.h"

namespace orch::eval {
namespace {

/// The code point at `at`, which is moved behind it; a byte alone, with a bit that no code point has, where it is
/// broken.
char32_t next(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xC2 && first < 0xE0 ? 2
                             : first < 0xF0 && first >= 0xE0 ? 3
                             : first >= 0xF0 && first < 0xF5 ? 4
                                                             : 0;
  char32_t code = length < 2 ? first : first & (0xFFU >> (length + 1));
  bool broken = length == 0 || at + length > text.size();
  for (std::size_t i = 1; !broken && i < length; ++i) {
    const auto more = static_cast<unsigned char>(text[at + i]);
    broken = (more & 0xC0U) != 0x80U;
    code = code << 6 | (more & 0x3FU);
  }
  at += broken ? 1 : length;
  return broken ? 0x80000000U | first : code;
}

char32_t small(char32_t c) {
  if (c >= U'A' && c <= U'Z') return c + 32;
  if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) || (c >= 0x410 && c <= 0x42F))
    return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  // Pairs, the capital first; from 0x139 to 0x148 and from 0x179 on it is the odd one. Turkish i's are not a pair.
  const bool odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E);
  const bool even = (c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) || (c >= 0x14A && c <= 0x177);
  if ((odd && c % 2 == 1) || (even && c % 2 == 0)) return c + 1;
  if (c == 0x178) return 0xFF;
  return c;
}

}  // namespace

std::string folded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const char32_t code = next(text, at), lower = small(code);
    if (lower == code) {
      out += text.substr(from, at - from);
    } else if (lower < 0x80) {
      out += static_cast<char>(lower);
    } else {  // all others that change are of two bytes
      out += static_cast<char>(0xC0U | lower >> 6);
      out += static_cast<char>(0x80U | (lower & 0x3FU));
    }
  }
  return out;
}

std::u32string code_points(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) codes += next(text, at);
  return codes;
}

}  // namespace orch::eval
