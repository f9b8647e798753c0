#include "base/template/shell_reader.h"

#include <algorithm>
#include <utility>

#include "base/template/characters.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::size_t kMostFrames = 100;

void refuse_nul(char c) {
  if (c == '\0') throw Fault{"a script cannot hold a NUL byte"};
}

}  // namespace

ShellReader::ShellReader() { frames_.emplace_back(); }

void ShellReader::push(Kind kind) {
  if (frames_.size() >= kMostFrames) throw Fault{"the quotes and brackets of this script are nested too deeply"};
  frames_.emplace_back();
  top().kind = kind;
}

void ShellReader::pop() {
  frames_.pop_back();
  if (top().kind == Kind::kCommand) top().words.add('"');
}

HereDocument* ShellReader::heredoc() {
  for (Frame& frame : frames_)
    if (frame.kind == Kind::kHeredoc) return &frame.heredoc;
  return nullptr;
}

bool ShellReader::inside_double() const {
  for (std::size_t i = frames_.size(); i-- > 0;) {
    if (frames_[i].kind == Kind::kDouble || frames_[i].kind == Kind::kHeredoc) return true;
    if (frames_[i].kind == Kind::kCommand) return false;
  }
  return false;
}

void ShellReader::line_char(char c) {
  if (HereDocument* around = heredoc()) around->add(c);
}

void ShellReader::text(std::string_view literal) {
  const std::size_t carried = carry_.size();
  const std::string whole = std::exchange(carry_, {}) + std::string(literal);
  fault_offset_ = 0;
  read(whole, false);
  fault_offset_ = fault_offset_ > carried ? fault_offset_ - carried : 0;
}

void ShellReader::finish_text() {
  if (!carry_.empty()) read(std::exchange(carry_, {}), true);
}

void ShellReader::read(std::string_view text, bool final) {
  for (std::size_t i = 0; i < text.size();) {
    fault_offset_ = i;
    refuse_nul(text[i]);
    dollar_name_ = dollar_name_ && is_name_char(text[i]);
    dangling_ = false;
    const std::size_t next = step({text, i, final});
    if (next == kMore) {
      carry_ = text.substr(i);
      return;
    }
    // What a step took at once and is not the end of a line belongs to the line of a here-document.
    at_line_start_ = next > i && text[next - 1] == '\n';
    i = next;
  }
}

std::size_t ShellReader::step(const Input& in) {
  if (in.now() == '\n') check_newline();
  switch (top().kind) {
    case Kind::kCommand:
      return command_step(in);
    case Kind::kSingle:
    case Kind::kAnsi:
    case Kind::kDouble:
    case Kind::kBacktick:
      return quoted_step(in);
    case Kind::kParameter:
    case Kind::kArithmetic:
    case Kind::kBracket:
    case Kind::kSubscript:
      return bracket_step(in);
    case Kind::kComment:
      if (in.now() == '\n') {
        frames_.pop_back();
        newline();
      } else {
        top().comment.add(in.now());
      }
      return in.after(1);
    case Kind::kHeredoc:
      return heredoc_step(in);
  }
  return in.after(1);
}

/// A Fault where lines would not mean to bash what they mean to this reader.
void ShellReader::check_newline() const {
  const bool ends_line = top().kind == Kind::kComment || top().kind == Kind::kHeredoc;
  for (std::size_t i = 0; i + 1 < frames_.size(); ++i) {
    if (!frames_[i].pending.empty() && !(ends_line && i + 2 == frames_.size()))
      throw Fault{"a line ends " + place() +
                  " while a here-document waits to begin; write the two on lines of their own"};
    if (frames_[i].kind == Kind::kHeredoc)
      throw Fault{"an expansion in a here-document must end on the line it begins"};
  }
}

/// A backslash in quotes or brackets, and the character after it.
std::size_t ShellReader::escape_step(const Input& in) {
  if (!in.knows(1)) return kMore;
  if (in.at + 1 == in.text.size()) {
    dangling_ = true;
    return in.after(1);
  }
  refuse_nul(in.ahead(1));
  if (in.ahead(1) != '\n') {
    line_char(in.now());
    line_char(in.ahead(1));
  }
  return in.after(2);
}

std::size_t ShellReader::quoted_step(const Input& in) {
  const char c = in.now();
  const Kind kind = top().kind;
  if (c == '\\' && kind != Kind::kSingle) return escape_step(in);
  if (c == '$' && kind == Kind::kDouble) return dollar_step(in);
  line_char(c);
  const char closing = kind == Kind::kDouble ? '"' : kind == Kind::kBacktick ? '`' : '\'';
  if (c == closing)
    pop();
  else if (c == '`' && kind == Kind::kDouble)
    push(Kind::kBacktick);
  return in.after(1);
}

std::size_t ShellReader::bracket_step(const Input& in) {
  const char c = in.now();
  const Kind kind = top().kind;
  if (c == '\\') return escape_step(in);
  if (c == '$') return dollar_step(in);
  line_char(c);
  if (c == '\'') {
    if (inside_double())
      throw Fault{"a single quote " + place() + " inside double quotes means different things to different shells"};
    push(Kind::kSingle);
  } else if (c == '"') {
    push(Kind::kDouble);
  } else if (c == '`') {
    push(Kind::kBacktick);
  } else if (c == '\n' && kind == Kind::kSubscript) {
    // A lone bracket was no subscript after all.
    pop();
    return command_step(in);
  } else {
    const char opening = kind == Kind::kArithmetic ? '(' : '[';
    const char closing = kind == Kind::kParameter ? '}' : kind == Kind::kArithmetic ? ')' : ']';
    if (c == opening && kind != Kind::kParameter) ++top().open;
    if (c == closing && --top().open == 0) pop();
  }
  return in.after(1);
}

std::size_t ShellReader::heredoc_step(const Input& in) {
  const char c = in.now();
  if (c == '\n') {
    const bool in_parentheses = frames_[frames_.size() - 2].closes;
    if (!top().heredoc.end_line(in_parentheses)) return in.after(1);
    frames_.pop_back();
    top().words.last = '\n';
    if (!top().pending.empty()) begin_heredoc();
    return in.after(1);
  }
  if (!top().heredoc.is_literal()) {
    if (c == '\\') return escape_step(in);
    if (c == '$') return dollar_step(in);
  }
  line_char(c);
  if (c == '`' && !top().heredoc.is_literal()) push(Kind::kBacktick);
  return in.after(1);
}

std::size_t ShellReader::dollar_step(const Input& in) {
  const auto take = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      line_char(in.ahead(i));
      if (top().kind == Kind::kCommand) top().words.add(in.ahead(i));
    }
    return in.after(count);
  };
  const auto open = [&](std::size_t count, Kind kind, int brackets) {
    take(count);
    push(kind);
    top().open = brackets;
    return in.after(count);
  };
  if (!in.knows(1)) return kMore;
  if (in.at + 1 == in.text.size()) {
    dangling_ = true;
    return take(1);
  }
  const char next = in.ahead(1);
  if (next == '(') {
    if (!in.knows(2)) return kMore;
    if (in.ahead(2) == '(') return open(3, Kind::kArithmetic, 2);
    open(2, Kind::kCommand, 0);
    top().closes = top().is_substitution = true;
    return in.after(2);
  }
  if (next == '{') return open(2, Kind::kParameter, 1);
  if (next == '[') return open(2, Kind::kBracket, 1);
  if (next == '"' && !inside_double()) return open(2, Kind::kDouble, 0);
  if (next == '\'' && !inside_double()) return open(2, Kind::kAnsi, 0);
  dollar_name_ = is_name_start(next);
  const bool is_variable = is_name_char(next) || std::string_view("#?!*@$-").find(next) != std::string_view::npos;
  return take(is_variable ? 2 : 1);
}

void ShellReader::newline() {
  top().words.end_command();
  top().words.last = '\n';
  if (!top().pending.empty()) begin_heredoc();
}

void ShellReader::begin_heredoc() {
  HereDocument next = std::move(top().pending.front());
  top().pending.erase(top().pending.begin());
  push(Kind::kHeredoc);
  top().heredoc = std::move(next);
}

void ShellReader::end() {
  finish_text();
  if (top().kind == Kind::kComment || top().kind == Kind::kSubscript) return;
  if (top().kind == Kind::kHeredoc && top().heredoc.may_end() && frames_.size() == 2 && frames_[0].pending.empty())
    return;
  if (frames_.size() > 1) throw Fault{"the script ends " + place()};
  if (!top().pending.empty())
    throw Fault{"the script ends before the here-document " + quote(top().pending.front().mark())};
}

bool ShellReader::same_place(const ShellReader& other) const {
  return std::equal(
      frames_.begin(), frames_.end(), other.frames_.begin(), other.frames_.end(), [](const Frame& a, const Frame& b) {
        return a.kind == b.kind && a.closes == b.closes && a.words.is_array == b.words.is_array && a.open == b.open &&
               a.pending.size() == b.pending.size() && a.comment.same_quote(b.comment) &&
               a.heredoc.mark() == b.heredoc.mark() && a.words.is_test() == b.words.is_test();
      });
}

std::string ShellReader::place_of(const Frame& frame) {
  switch (frame.kind) {
    case Kind::kCommand:
      return frame.words.is_array ? "inside an array" : frame.closes ? "inside parentheses" : "between commands";
    case Kind::kSingle:
      return "inside single quotes";
    case Kind::kAnsi:
      return "inside $'…'";
    case Kind::kDouble:
      return "inside double quotes";
    case Kind::kBacktick:
      return "inside backticks";
    case Kind::kParameter:
      return "inside ${…}";
    case Kind::kArithmetic:
    case Kind::kBracket:
      return "into an arithmetic expansion";
    case Kind::kSubscript:
      return "into a subscript, which bash evaluates";
    case Kind::kComment:
      return "inside a comment";
    case Kind::kHeredoc:
      return "inside the here-document " + quote(frame.heredoc.mark());
  }
  return {};
}

}  // namespace orch::tmpl
