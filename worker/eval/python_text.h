// What Python does to texts and no one else does quite so.
#pragma once

#include <string>
#include <string_view>

namespace orch::eval {

/// As str.strip().
std::string_view python_strip(std::string_view text);
/// Whether str.isspace() holds of the first, or the last, character; false of an empty text.
bool begins_blank(std::string_view text);
bool ends_blank(std::string_view text);
/// As str.replace().
std::string python_replace(std::string_view text, std::string_view from, std::string_view to);
/// `prefix` and `suffix` with `delimiter` between them, unless one is empty or there is a blank between them already.
std::string delimited(std::string_view prefix, std::string_view suffix, std::string_view delimiter);

}  // namespace orch::eval
