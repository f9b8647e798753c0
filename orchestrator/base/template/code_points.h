// Texts as Python sees them: sequences of code points. A byte that is not UTF-8 counts as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orch::tmpl {

std::vector<std::string_view> code_points(std::string_view text);
std::size_t count_code_points(std::string_view text);

/// Bytes of the code point at the start of a text that is not empty.
std::size_t code_point_size(std::string_view text);
/// The number of a code point, or -1 of a byte that is not UTF-8.
std::int32_t code_of(std::string_view code_point);
void append_code_point(std::string& out, std::int32_t code);

/// From the first to the last byte of code points that lie in one text, one
/// after another.
std::string_view whole_of(const std::vector<std::string_view>& points, std::size_t from, std::size_t to);

/// As str.isprintable(), of code points that have a meaning in Unicode 14.
bool is_printable(std::int32_t code);
bool is_letter(std::string_view code_point);
bool is_blank(std::string_view code_point);  ///< what str.strip() takes away

std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string folded_text(std::string_view text);  ///< small letters, and ß as ss
std::string capitalized(std::string_view text);

}  // namespace orch::tmpl
