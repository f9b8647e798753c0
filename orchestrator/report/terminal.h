// What programs printed, made fit for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace orch::report {

/// Lines, tabs and colours stay; other control characters and escape sequences (which may move the cursor, or have the
/// terminal type) become U+FFFD.
std::string for_terminal(std::string_view text);

}  // namespace orch::report
