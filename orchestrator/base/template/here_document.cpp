#include "base/template/here_document.h"

#include "base/template/shell_words.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {

bool HereDocument::read_mark(std::string_view text, std::size_t& at, bool final) {
  std::size_t i = at;
  if (i < text.size() && text[i] == '-') {
    strips_tabs_ = true;
    ++i;
  }
  while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
  char open_quote = '\0';
  for (; i < text.size(); ++i) {
    const char c = text[i];
    const bool ends = std::string_view(" \t\n;&|<>()").find(c) != std::string_view::npos;
    if (ends && !open_quote) break;
    if (c == '\0' || (open_quote ? c == '\n' || c == '\\' : c == '$' || c == '`'))
      throw Fault{"the end mark of a here-document is a plain word"};
    if (c == open_quote) {
      open_quote = '\0';
    } else if (!open_quote && (c == '\'' || c == '"')) {
      open_quote = c;
      is_quoted_ = true;
    } else if (!open_quote && c == '\\') {
      is_quoted_ = true;
    } else {
      mark_ += c;
    }
  }
  if (i == text.size()) {
    if (!final) return false;
    throw Fault{"the end mark of a here-document is written out, without a value"};
  }
  if (mark_.empty()) throw Fault{"a here-document needs a word that ends it"};
  at = i;
  return true;
}

void HereDocument::add(char c) {
  if (c == '\t' && line_.empty() && strips_tabs_) return;
  // One more than the mark is enough to differ from it.
  if (line_.size() <= mark_.size()) line_ += c;
}

std::string HereDocument::value(std::string_view value) {
  const std::string written = is_quoted_ ? std::string(value) : escaped(value, "\\$`");
  has_value_ = true;
  for (char c : written) {
    if (c != '\n') {
      add(c);
      continue;
    }
    if (line_ == mark_) fail_ended_by_value();
    line_.clear();
  }
  return written;
}

bool HereDocument::end_line(bool in_parentheses) {
  const bool ends = line_ == mark_;
  if (ends && has_value_) fail_ended_by_value();
  if (in_parentheses && line_ == mark_ + ")")
    throw Fault{"the end of a here-document stands on a line of its own, the parenthesis on the next"};
  line_.clear();
  has_value_ = false;
  return ends;
}

void HereDocument::fail_ended_by_value() const {
  throw Fault{"a value makes a line that ends the here-document, " + quote(mark_)};
}

}  // namespace orch::tmpl
