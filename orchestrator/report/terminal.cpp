#include "report/terminal.h"

namespace orch::report {

std::string for_terminal(std::string_view text) {
  constexpr std::string_view kReplaced = "\xef\xbf\xbd";
  std::string safe;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0x1b && text.substr(i + 1).starts_with('[')) {
      const std::size_t end = text.find_first_not_of("0123456789;", i + 2);
      if (end != std::string_view::npos && text[end] == 'm') {
        safe.append(text.substr(i, end + 1 - i));
        i = end;
        continue;
      }
    }
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\t' && byte != '\r') || byte == 0x7f;
    // The second control block is two bytes of UTF-8, the first of which is 0xc2.
    const bool second = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (control || second)
      safe.append(kReplaced);
    else
      safe.push_back(text[i]);
    if (second) ++i;
  }
  return safe;
}

}  // namespace orch::report
