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

struct Range {
  std::uint32_t first, last;
};
/// Accents that stand on the letter before them, joiners, marks of direction, selectors of a variant.
constexpr Range kNoColumn[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},
                               {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2069}, {0x20D0, 0x20FF},
                               {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};
/// East Asian scripts, full-width forms, pictures.
constexpr Range kTwoColumns[] = {{0x1100, 0x115F}, {0x2E80, 0xA4CF}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                                 {0xFE30, 0xFE4F}, {0xFF00, 0xFF60}, {0x1F300, 0x1FAFF}, {0x20000, 0x3FFFD}};

std::size_t width_of(std::uint32_t code) {
  const auto holds = [code](const Range& range) { return code >= range.first && code <= range.last; };
  return std::ranges::any_of(kNoColumn, holds) ? 0 : std::ranges::any_of(kTwoColumns, holds) ? 2 : 1;
}

/// The longest beginning of `text` that takes at most so many columns.
std::string_view beginning(std::string_view text, std::size_t most) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = code_point(text.substr(at));
    width += width_of(code);
    if (width > most) return text.substr(0, at);
    at += length;
  }
  return text;
}

std::string cut(const std::string& text, std::size_t most) {
  return display_width(text) <= most ? text : std::string(beginning(text, most - 1)) + "…";
}

/// In a narrower last column a reason would be a tower of single words; the terminal's own wrapping is better.
constexpr std::size_t kLeastWrapped = 20;

/// Pieces of at most so many columns, broken between words where there are any.
std::vector<std::string> wrapped(std::string_view text, std::size_t most) {
  std::vector<std::string> pieces;
  while (display_width(text) > most) {
    std::string_view piece = beginning(text, most);
    const bool between = text[piece.size()] == ' ';
    if (const std::size_t space = piece.rfind(' '); !between && space != std::string_view::npos && space > 0)
      piece = piece.substr(0, space);
    pieces.emplace_back(piece);
    text.remove_prefix(piece.size());
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  pieces.emplace_back(text);
  return pieces;
}

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::string gap(width - display_width(text), ' ');
  return align == Align::kRight ? gap + text : text + gap;
}

}  // namespace

std::string bold(const Style& style, std::string_view text) {
  return style.color ? "\x1b[1m" + std::string(text) + "\x1b[0m" : std::string(text);
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
    widths.push_back(display_width(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  const std::size_t last = columns_.size() - 1;
  std::size_t left_of_last = 2;
  for (std::size_t i = 0; i < last; ++i) left_of_last += widths[i] + 2;
  if (columns_[last].align == Align::kLeft && style.width >= left_of_last + kLeastWrapped)
    widths[last] = std::min(widths[last], style.width - left_of_last);

  const auto lines = [&](const std::vector<std::string>& row) {
    std::string text;
    for (std::size_t i = 0; i < last; ++i) text += "  " + padded(row[i], widths[i], columns_[i].align);
    const std::vector<std::string> pieces = wrapped(row[last], widths[last]);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (i) text += "\n" + std::string(left_of_last - 2, ' ');
      text += "  " + padded(pieces[i], widths[last], columns_[last].align);
      text.erase(text.find_last_not_of(' ') + 1);
    }
    return text;
  };
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  out << bold(style, lines(titles)) << "\n";
  for (const auto& row : rows_) out << lines(row) << "\n";
}

}  // namespace orch::report
