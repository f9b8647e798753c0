// What scores ask of text that has letters beyond ASCII.
#pragma once

#include <string>
#include <string_view>

namespace orch::eval {

/// In small letters: ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; others stay. Any bytes.
std::string folded(std::string_view text);

/// The code points; each byte of what is no UTF-8 is one.
std::u32string code_points(std::string_view text);

}  // namespace orch::eval
