// What is written for a value at a place of a script, and where none can be.
#include <algorithm>

#include "base/template/shell_reader.h"
#include "base/template/template.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {

std::string shell_quote(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

void ShellReader::check_value_place() {
  finish_text();
  if (dangling_) throw Fault{"a value cannot follow a lone backslash or '$'"};
  if (dollar_name_) throw Fault{"a value right after a variable would become part of its name; write ${name}"};
  for (const Frame& frame : frames_) {
    switch (frame.kind) {
      case Kind::kAnsi:
      case Kind::kBacktick:
      case Kind::kParameter:
      case Kind::kArithmetic:
      case Kind::kBracket:
      case Kind::kSubscript:
        throw Fault{"cannot print " + place_of(frame) + "; set a variable first and use that"};
      case Kind::kHeredoc:
        if (&frame == &top()) break;
        throw Fault{"cannot print inside an expansion in a here-document; set a variable first and use that"};
      case Kind::kCommand:
        frame.words.check_rereading();
        break;
      case Kind::kComment:
        frame.comment.check_value();
        break;
      case Kind::kSingle:
      case Kind::kDouble:
        break;
    }
  }
  if (top().kind == Kind::kCommand) top().words.take_value();
}

/// A Fault if the value would end a line on which a here-document begins.
void ShellReader::check_lines(std::string_view value) const {
  if (value.find('\n') == std::string_view::npos) return;
  if (std::any_of(frames_.begin(), frames_.end(), [](const Frame& frame) { return !frame.pending.empty(); }))
    throw Fault{"a value with a newline cannot stand on a line that begins a here-document"};
}

void ShellReader::after_value(std::string_view written) {
  at_line_start_ = false;
  dangling_ = dollar_name_ = false;
  if (top().kind == Kind::kCommand) top().words.add_value(written);
  if (top().kind == Kind::kComment) top().comment.after_value();
  if (top().kind == Kind::kHeredoc) top().heredoc.any_value();
}

void ShellReader::any_value() {
  check_value_place();
  after_value("x");
}

std::string ShellReader::value(std::string_view value) {
  check_value_place();
  if (value.find('\0') != std::string_view::npos) throw Fault{"the value holds a NUL byte, which a script cannot hold"};
  check_lines(value);
  std::string written;
  switch (top().kind) {
    case Kind::kDouble:
      written = escaped(value, "\\$`\"");
      break;
    case Kind::kSingle: {
      const std::string quoted = shell_quote(value);
      written = quoted.substr(1, quoted.size() - 2);
      break;
    }
    case Kind::kComment:
      written = top().comment.value(value);
      break;
    case Kind::kHeredoc:
      written = top().heredoc.value(value);
      break;
    default:
      written =
          is_plain_word(value, top().words.in_word ? top().words.last : ' ') ? std::string(value) : shell_quote(value);
      break;
  }
  after_value(written);
  return written;
}

void ShellReader::words(std::string_view quoted) {
  check_value_place();
  if (top().kind != Kind::kCommand)
    throw Fault{"a list of words cannot be printed " + place() + "; it stands between words"};
  if (top().words.in_word) throw Fault{"a list of words needs a blank before it"};
  check_lines(quoted);
  if (!quoted.empty()) after_value(quoted);
}

}  // namespace orch::tmpl
