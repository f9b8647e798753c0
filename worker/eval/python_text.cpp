#include "eval/python_text.h"

#include "base/template/code_points.h"

namespace orch::eval {

std::string_view python_strip(std::string_view text) {
  while (begins_blank(text)) text.remove_prefix(tmpl::code_point_size(text));
  while (ends_blank(text)) {
    std::size_t size = 1;
    while (size < text.size() && (static_cast<unsigned char>(text[text.size() - size]) & 0xC0) == 0x80) ++size;
    text.remove_suffix(size);
  }
  return text;
}

bool begins_blank(std::string_view text) {
  return !text.empty() && tmpl::is_blank(text.substr(0, tmpl::code_point_size(text)));
}

bool ends_blank(std::string_view text) {
  if (text.empty()) return false;
  std::size_t at = text.size() - 1;
  while (at > 0 && text.size() - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return tmpl::is_blank(text.substr(at));
}

std::string python_replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const std::size_t at = text.find(from);
    if (at == std::string_view::npos) return out += text;
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
  }
}

std::string delimited(std::string_view prefix, std::string_view suffix, std::string_view delimiter) {
  std::string out(prefix);
  if (!prefix.empty() && !suffix.empty() && !ends_blank(prefix) && !begins_blank(suffix)) out += delimiter;
  return out += suffix;
}

}  // namespace orch::eval
