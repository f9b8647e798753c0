#include "report/table.h"

#include <algorithm>
#include <cstdint>
#include <ostream>

#include "base/text.h"

namespace orch::report {
namespace {

/// The code point at the start of `text`, and its length in bytes. `text` is UTF-8 (base's shown() has seen to that).
std::pair<std::uint32_t, std::size_t> code_point(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  length = std::min(length, text.size());
  std::uint32_t code = length == 1 ? first : first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  return {code, length};
}

std::size_t width_of(std::uint32_t code) {
  if ((code >= 0x300 && code <= 0x36F) || code == 0x200B || code == 0x200D || (code >= 0xFE00 && code <= 0xFE0F))
    return 0;
  const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                    (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                    (code >= 0xFF00 && code <= 0xFF60) || (code >= 0x1F300 && code <= 0x1FAFF) ||
                    (code >= 0x20000 && code <= 0x3FFFD);
  return wide ? 2 : 1;
}

std::string cut(const std::string& text, std::size_t most) {
  if (display_width(text) <= most) return text;
  std::string out;
  std::size_t width = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const auto [code, length] = code_point(rest);
    if (width + width_of(code) > most - 1) break;
    width += width_of(code);
    out += rest.substr(0, length);
    rest.remove_prefix(length);
  }
  return out + "…";
}

}  // namespace

std::string bold(const Style& style, std::string_view text) {
  return style.color ? "\x1b[1m" + std::string(text) + "\x1b[0m" : std::string(text);
}

std::string dim(const Style& style, std::string_view text) {
  return style.color ? "\x1b[2m" + std::string(text) + "\x1b[0m" : std::string(text);
}

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  while (!utf8.empty()) {
    const auto [code, length] = code_point(utf8);
    width += width_of(code);
    utf8.remove_prefix(length);
  }
  return width;
}

void Table::add(std::vector<std::string> row) {
  row.resize(columns_.size());
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = cut(shown(row[i], 4000), columns_[i].most);
  rows_.push_back(std::move(row));
}

void Table::print(std::ostream& out, const Style& style) const {
  if (rows_.empty()) return;
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i]));
    widths.push_back(width);
  }
  const auto line = [&](const auto& text_of) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = text_of(i);
      const std::string gap(widths[i] - display_width(cell), ' ');
      text += "  ";
      text += columns_[i].align == Align::kRight ? gap + cell : cell + gap;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  out << bold(style, line([&](std::size_t i) -> const std::string& { return columns_[i].title; })) << "\n";
  for (const auto& row : rows_) out << line([&](std::size_t i) -> const std::string& { return row[i]; }) << "\n";
}

}  // namespace orch::report
