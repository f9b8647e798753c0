#include "base/template/code_points.h"

#include <utility>

#include "base/text.h"

namespace orch::tmpl {
namespace {

std::int32_t upper_code(std::int32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if ((c >= 0xE0 && c <= 0xFE && c != 0xF7)) return c - 32;
  if (c == 0xFF) return 0x178;
  if ((c >= 0x100 && c <= 0x137 && c != 0x131) || (c >= 0x14A && c <= 0x177)) return c & ~1;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return (c & 1) == 0 ? c - 1 : c;
  if (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2) return c - 32;
  if (c == 0x3C2) return 0x3A3;
  if (c >= 0x430 && c <= 0x44F) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  return c;
}

std::int32_t lower_code(std::int32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
  if (c == 0x178) return 0xFF;
  if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177)) return c | 1;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return (c & 1) != 0 ? c + 1 : c;
  if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) return c + 32;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

template <class Change>
std::string changed(std::string_view text, Change change) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = code_point_size(text);
    const std::int32_t code = code_of(text.substr(0, size));
    const std::int32_t other = code < 0 ? code : change(code);
    if (other == code)
      out += text.substr(0, size);
    else
      append_code_point(out, other);
    text.remove_prefix(size);
  }
  return out;
}

}  // namespace

std::size_t code_point_size(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  std::size_t size = 1;
  if (first >= 0xC2 && first < 0xE0)
    size = 2;
  else if (first >= 0xE0 && first < 0xF0)
    size = 3;
  else if (first >= 0xF0 && first < 0xF5)
    size = 4;
  return text.size() >= size && is_utf8(text.substr(0, size)) ? size : 1;
}

std::int32_t code_of(std::string_view code_point) {
  const auto at = [&](std::size_t i) { return static_cast<std::int32_t>(static_cast<unsigned char>(code_point[i])); };
  switch (code_point.size()) {
    case 1:
      return at(0) < 0x80 ? at(0) : -1;
    case 2:
      return (at(0) & 0x1F) << 6 | (at(1) & 0x3F);
    case 3:
      return (at(0) & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F);
    case 4:
      return (at(0) & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F);
    default:
      return -1;
  }
}

void append_code_point(std::string& out, std::int32_t code) {
  const auto put = [&](std::int32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = code_point_size(text);
    points.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return points;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(code_point_size(text));
  return count;
}

std::string_view whole_of(const std::vector<std::string_view>& points, std::size_t from, std::size_t to) {
  if (from == to) return {};
  const char* begin = points[from].data();
  return {begin, static_cast<std::size_t>(points[to - 1].data() + points[to - 1].size() - begin)};
}

std::string upper_text(std::string_view text) {
  std::string out;
  // The one common letter whose capital is two.
  while (true) {
    const std::size_t at = text.find("\u00DF");
    out += changed(text.substr(0, at), upper_code);
    if (at == std::string_view::npos) return out;
    out += "SS";
    text.remove_prefix(at + 2);
  }
}

std::string lower_text(std::string_view text) { return changed(text, lower_code); }

std::string folded_text(std::string_view text) {
  std::string out = lower_text(text);
  for (std::size_t at = 0; (at = out.find("\u00DF", at)) != std::string::npos; at += 2) out.replace(at, 2, "ss");
  return out;
}

bool is_printable(std::int32_t code) {
  // Controls, formats, separators other than the blank, private and no characters.
  static constexpr std::pair<std::int32_t, std::int32_t> kHidden[] = {
      {0, 0x1F},          {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},
      {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},     {0x1680, 0x1680},
      {0x180E, 0x180E},   {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},
      {0xD800, 0xF8FF},   {0xFDD0, 0xFDEF},   {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},
      {0x110BD, 0x110BD}, {0x1D173, 0x1D17A}, {0xE0000, 0xE00FF}, {0xE01F0, 0x10FFFF}};
  for (const auto& [from, to] : kHidden)
    if (code >= from && code <= to) return false;
  return true;
}

bool is_letter(std::string_view code_point) {
  const std::int32_t c = code_of(code_point);
  if (c < 0) return false;
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return upper_code(c) != c || lower_code(c) != c || c == 0xDF;
}

bool is_blank(std::string_view code_point) {
  const std::int32_t c = code_of(code_point);
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  const std::size_t first = code_point_size(text);
  return upper_text(text.substr(0, first)) + lower_text(text.substr(first));
}

}  // namespace orch::tmpl
