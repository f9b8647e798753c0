// Commands of a script: words, separators, redirections, parentheses, and where here-documents begin.
#include <utility>

#include "base/template/shell_reader.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {

std::size_t ShellReader::command_step(const Input& in) {
  const char c = in.now();
  CommandWords& words = top().words;
  if (c != '$' && c != '\\') line_char(c);
  if (words.is_value && (c == '<' || c == '>'))
    throw Fault{"a number right before " + quote(std::string(1, c)) +
                " names a file descriptor; put a blank after the value"};
  if (words.is_value && c == '(')
    throw Fault{"a value right before '(' is read as a function or a pattern; put a blank between"};
  switch (c) {
    case '\\':
      return command_escape(in);
    case '$':
      return dollar_step(in);
    case '\'':
    case '"':
    case '`':
      push(c == '\'' ? Kind::kSingle : c == '"' ? Kind::kDouble : Kind::kBacktick);
      return in.after(1);
    case ' ':
    case '\t':
      end_word();
      words.last = c;
      return in.after(1);
    case '\n':
      end_word();
      newline();
      return in.after(1);
    case ';':
    case '|':
    case '&':
      return separator(in);
    case '<':
    case '>':
      return redirection(in);
    case '(':
      return open_parenthesis(in);
    case ')':
      return close_parenthesis(in);
    case '#':
      if (words.in_word) break;
      push(Kind::kComment);
      top().comment = ShellComment(at_line_start_ && frames_.size() == 2);
      return in.after(1);
    case '[':
      if (!in.knows(1)) return kMore;
      if (!words.begins_subscript(in.ahead(1))) break;
      words.add(c);
      push(Kind::kSubscript);
      top().open = 1;
      return in.after(1);
    default:
      break;
  }
  words.add(c);
  return in.after(1);
}

std::size_t ShellReader::command_escape(const Input& in) {
  const std::size_t next = escape_step(in);
  if (next != in.after(2)) return next;
  if (in.ahead(1) == '\n') {
    // The line goes on; what was a value is no longer right before what follows it in the text.
    top().words.last = '\n';
  } else {
    top().words.add(in.now());
    top().words.add(in.ahead(1));
  }
  return next;
}

std::size_t ShellReader::separator(const Input& in) {
  const char c = in.now();
  if (c == '&' && !in.knows(1)) return kMore;
  end_word();
  CommandWords& words = top().words;
  const bool redirects = c == '&' && (words.last == '>' || words.last == '<' || in.ahead(1) == '>');
  if (!redirects) words.end_command();
  words.last = c;
  return in.after(1);
}

std::size_t ShellReader::redirection(const Input& in) {
  CommandWords& words = top().words;
  const char c = in.now();
  if (c == '<') {
    if (!in.knows(1) || (in.ahead(1) == '<' && !in.knows(2))) return kMore;
    if (in.ahead(1) == '<' && in.ahead(2) != '<') return here_document(in);
    if (in.ahead(1) == '<') {
      end_word();
      words.last = c;
      return in.after(3);
    }
  }
  words.drop_number();
  end_word();
  words.redirects = !words.is_test();
  words.last = c;
  return in.after(1);
}

std::size_t ShellReader::here_document(const Input& in) {
  if (heredoc()) throw Fault{"a here-document inside a here-document cannot be read along"};
  HereDocument next;
  std::size_t at = in.after(2);
  if (!next.read_mark(in.text, at, in.final)) return kMore;
  end_word();
  top().words.last = ' ';
  top().pending.push_back(std::move(next));
  return at;
}

std::size_t ShellReader::open_parenthesis(const Input& in) {
  if (!in.knows(1)) return kMore;
  CommandWords& words = top().words;
  const bool is_array = words.in_word && words.last == '=';
  const bool is_arithmetic = !words.in_word && in.ahead(1) == '(';
  const bool is_test = words.is_test();
  if (!words.in_word) words.last = '(';
  if (is_arithmetic) {
    push(Kind::kArithmetic);
    top().open = 2;
    return in.after(2);
  }
  push(Kind::kCommand);
  top().closes = true;
  top().words.is_array = is_array;
  top().words.last = ' ';
  if (is_test) top().words.command = "[[";
  return in.after(1);
}

std::size_t ShellReader::close_parenthesis(const Input& in) {
  end_word();
  if (!top().closes) {
    // The end of a pattern of case.
    top().words.command.clear();
    top().words.last = ')';
    return in.after(1);
  }
  if (!top().pending.empty()) throw Fault{"a parenthesis closes before the here-document in it has begun"};
  const bool is_part_of_word = top().is_substitution || top().words.is_array;
  pop();
  if (is_part_of_word || top().kind != Kind::kCommand) return in.after(1);
  CommandWords& words = top().words;
  words.in_word = false;
  words.word.clear();
  words.last = ' ';
  // name() { … }: what follows is a command again.
  words.end_command();
  return in.after(1);
}

}  // namespace orch::tmpl
