#include "base/template/shell_reader.h"

#include <algorithm>
#include <array>

#include "base/template/template.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

/// What step() returns when it must see more of the script first.
constexpr std::size_t kMore = static_cast<std::size_t>(-1);
/// As much of a word or a comment's beginning as is ever looked at.
constexpr std::size_t kKept = 64;
constexpr char kValueMark = '\1';

constexpr std::array<std::string_view, 5> kDirectives = {"#SBATCH", "#SLURM", "#PBS", "#BSUB", "#COBALT"};
constexpr std::array<std::string_view, 19> kReserved = {"if",     "then",   "elif",     "else", "fi",   "time", "for",
                                                        "in",     "until",  "while",    "do",   "done", "case", "esac",
                                                        "coproc", "select", "function", "let",  "eval"};
/// After these a command begins.
constexpr std::array<std::string_view, 14> kLeading = {"if", "then", "elif", "else",   "time",    "until",   "while",
                                                       "do", "!",    "{",    "coproc", "builtin", "command", "exec"};
constexpr std::array<std::string_view, 3> kDeclaring = {"declare", "typeset", "local"};
/// These read a word as a name or an expression of their own, in which $(…) runs.
constexpr std::array<std::string_view, 4> kRereading = {"eval", "let", "unset", "read"};
constexpr std::string_view kEvaluates =
    "bash evaluates words of this command as arithmetic or as names, so that a value could run another; compare with [ "
    "], "
    "or use a variable that was checked";
constexpr std::array<std::string_view, 6> kEvaluating = {"-eq", "-ne", "-lt", "-le", "-gt", "-ge"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool is_name_start(char c) { return (is_alnum(c) && !(c >= '0' && c <= '9')) || c == '_'; }
bool is_name_char(char c) { return is_alnum(c) || c == '_'; }
bool is_blank_char(char c) { return c == ' ' || c == '\t'; }

bool is_identifier(std::string_view word) {
  // A value may turn out to be a name.
  const auto may_be = [](char c) { return is_name_char(c) || c == kValueMark; };
  return !word.empty() && (is_name_start(word[0]) || word[0] == kValueMark) &&
         std::all_of(word.begin(), word.end(), may_be);
}

/// `name=…`, `name+=…`, `name[…]=…` before a command.
bool is_assignment(std::string_view word) {
  std::size_t i = 0;
  while (i < word.size() && is_name_char(word[i])) ++i;
  if (i == 0 || i == word.size() || !is_name_start(word[0])) return false;
  return word[i] == '=' || word[i] == '[' || word.substr(i, 2) == "+=";
}

/// Whether a text can stand bare as a word or as a part of one that ends in `before`, whatever follows.
bool is_plain(std::string_view text, char before) {
  if (text.empty() || among(kReserved, text) || text.find("..") != std::string_view::npos) return false;
  const auto plain = [](char c) {
    return is_alnum(c) || std::string_view("_./:@%+-").find(c) != std::string_view::npos;
  };
  if (!std::all_of(text.begin(), text.end(), plain)) return false;
  const char last = text.back();
  if (!is_alnum(last) && last != '_' && last != '/') return false;
  return before == ' ' || before == '\t' || before == '\n' || is_alnum(before) || before == '_' || before == '=' ||
         before == '/' || before == '-' || before == ':';
}

std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (char c : text) {
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

ShellReader::ShellReader() { frames_.emplace_back(); }

void ShellReader::push(Kind kind) {
  if (frames_.size() >= 100) throw Fault{"the quotes and brackets of this script are nested too deeply"};
  frames_.emplace_back();
  top().kind = kind;
}

void ShellReader::pop() {
  frames_.pop_back();
  if (top().kind == Kind::kCommand) {
    top().in_word = true;
    top().after_value = false;
    top().last = '"';
    if (top().word.size() < kKept) top().word += '"';
  }
}

int ShellReader::heredoc_frame() const {
  for (std::size_t i = 0; i < frames_.size(); ++i)
    if (frames_[i].kind == Kind::kHeredoc) return static_cast<int>(i);
  return -1;
}

bool ShellReader::inside_double() const {
  for (std::size_t i = frames_.size(); i-- > 0;) {
    if (frames_[i].kind == Kind::kDouble || frames_[i].kind == Kind::kHeredoc) return true;
    if (frames_[i].kind == Kind::kCommand) return false;
  }
  return false;
}

void ShellReader::text(std::string_view literal) {
  const std::size_t carried = carry_.size();
  const std::string whole = std::exchange(carry_, {}) + std::string(literal);
  fault_offset_ = 0;
  read(whole, false);
  fault_offset_ = fault_offset_ > carried ? fault_offset_ - carried : 0;
}

void ShellReader::read(std::string_view text, bool final) {
  for (std::size_t i = 0; i < text.size();) {
    fault_offset_ = i;
    const char c = text[i];
    if (c == '\0') throw Fault{"a script cannot hold a NUL byte"};
    dollar_name_ = dollar_name_ && is_name_char(c);
    dangling_ = false;
    const std::size_t next = step(text, i, final);
    if (next == kMore) {
      carry_ = text.substr(i);
      return;
    }
    // What a step took at once and is not the end of a line belongs to the line of a here-document.
    at_line_start_ = next > i && text[next - 1] == '\n';
    i = next;
  }
}

std::size_t ShellReader::step(std::string_view text, std::size_t i, bool final) {
  const char c = text[i];
  const int heredoc = heredoc_frame();
  const auto two = [&]() -> std::size_t {
    if (i + 1 < text.size()) {
      if (text[i + 1] == '\0') throw Fault{"a script cannot hold a NUL byte"};
      if (heredoc >= 0 && text[i + 1] != '\n') line_char(c), line_char(text[i + 1]);
      return i + 2;
    }
    if (!final) return kMore;
    dangling_ = true;
    return i + 1;
  };
  if (c == '\n') {
    for (std::size_t f = 0; f + 1 < frames_.size(); ++f)
      if (!frames_[f].pending.empty() &&
          !((top().kind == Kind::kComment || top().kind == Kind::kHeredoc) && f + 2 == frames_.size()))
        throw Fault{"a line ends " + place() +
                    " while a here-document waits to begin; write the two on lines of their own"};
    if (heredoc >= 0 && top().kind != Kind::kHeredoc)
      throw Fault{"an expansion in a here-document must end on the line it begins"};
  }
  switch (top().kind) {
    case Kind::kCommand:
      return command_step(text, i, final);
    case Kind::kSingle:
      if (heredoc >= 0) line_char(c);
      if (c == '\'') pop();
      return i + 1;
    case Kind::kAnsi:
      if (c == '\\') return two();
      if (heredoc >= 0) line_char(c);
      if (c == '\'') pop();
      return i + 1;
    case Kind::kDouble:
      if (c == '\\') return two();
      if (c == '$') return dollar(text, i, final);
      if (heredoc >= 0) line_char(c);
      if (c == '`')
        push(Kind::kBacktick);
      else if (c == '"')
        pop();
      return i + 1;
    case Kind::kBacktick:
      if (c == '\\') return two();
      if (heredoc >= 0) line_char(c);
      if (c == '`') pop();
      return i + 1;
    case Kind::kParameter:
    case Kind::kArithmetic:
    case Kind::kBracket:
    case Kind::kSubscript: {
      if (c == '\\') return two();
      if (c == '$') return dollar(text, i, final);
      if (heredoc >= 0) line_char(c);
      const Kind kind = top().kind;
      if (c == '\'') {
        if (inside_double())
          throw Fault{"a single quote " + place() + " inside double quotes means different things to different shells"};
        push(Kind::kSingle);
      } else if (c == '"') {
        push(Kind::kDouble);
      } else if (c == '`') {
        push(Kind::kBacktick);
      } else if (kind == Kind::kParameter) {
        if (c == '}') pop();
      } else if (kind == Kind::kArithmetic) {
        if (c == '(') ++top().open;
        if (c == ')' && --top().open == 0) pop();
      } else {
        if (c == '[') ++top().open;
        if (c == ']' && --top().open == 0) pop();
        // A lone bracket was no subscript after all.
        if (c == '\n' && kind == Kind::kSubscript) {
          pop();
          return command_step(text, i, final);
        }
      }
      return i + 1;
    }
    case Kind::kComment:
      if (c == '\n') {
        frames_.pop_back();
        newline();
      } else {
        comment_char(c);
      }
      return i + 1;
    case Kind::kHeredoc:
      if (c == '\n') {
        line_end();
        return i + 1;
      }
      if (!top().heredoc.quoted) {
        if (c == '\\') return two();
        if (c == '$') return dollar(text, i, final);
        if (c == '`') {
          line_char(c);
          push(Kind::kBacktick);
          return i + 1;
        }
      }
      line_char(c);
      return i + 1;
  }
  return i + 1;
}

std::size_t ShellReader::dollar(std::string_view text, std::size_t i, bool final) {
  const bool in_heredoc = heredoc_frame() >= 0;
  const auto take = [&](std::size_t count) {
    for (std::size_t k = 0; k < count && in_heredoc; ++k) line_char(text[i + k]);
    if (top().kind == Kind::kCommand)
      for (std::size_t k = 0; k < count; ++k) word_char(text[i + k]);
    return i + count;
  };
  if (i + 1 >= text.size()) {
    if (!final) return kMore;
    take(1);
    dangling_ = true;
    return i + 1;
  }
  const char next = text[i + 1];
  const bool quotes = !inside_double();
  if (next == '(') {
    if (i + 2 >= text.size() && !final) return kMore;
    if (i + 2 < text.size() && text[i + 2] == '(') {
      const std::size_t after = take(3);
      push(Kind::kArithmetic);
      top().open = 2;
      return after;
    }
    const std::size_t after = take(2);
    push(Kind::kCommand);
    top().closes = top().is_substitution = true;
    return after;
  }
  if (next == '{' || next == '[') {
    const std::size_t after = take(2);
    push(next == '{' ? Kind::kParameter : Kind::kBracket);
    top().open = 1;
    return after;
  }
  if (quotes && (next == '\'' || next == '"')) {
    const std::size_t after = take(2);
    push(next == '"' ? Kind::kDouble : Kind::kAnsi);
    return after;
  }
  if (is_name_start(next)) {
    dollar_name_ = true;
    return take(2);
  }
  if (is_alnum(next) || std::string_view("#?!*@$-").find(next) != std::string_view::npos) return take(2);
  return take(1);
}

void ShellReader::word_char(char c) {
  Frame& frame = top();
  frame.in_word = true;
  frame.after_value = false;
  frame.last = c;
  if (frame.word.size() < kKept) frame.word += c;
}

void ShellReader::end_word() {
  Frame& frame = top();
  if (!frame.in_word) return;
  const std::string word = std::exchange(frame.word, {});
  frame.in_word = false;
  frame.after_value = false;
  if (frame.is_array || std::exchange(frame.redirects, false)) return;
  if (frame.command.empty()) {
    if (word == "case" && frames_.size() > 1)
      throw Fault{"'case' inside parentheses cannot be read along; put it into a function"};
    if (among(kLeading, word) || is_assignment(word)) return;
    frame.command = word;
    frame.test_has_value = frame.test_evaluates = false;
    return;
  }
  const bool brackets = frame.command == "[[";
  if (brackets && word == "]]") {
    frame.command = "]]";
    return;
  }
  if (brackets && among(kEvaluating, word)) frame.test_evaluates = true;
  if ((brackets || frame.command == "[" || frame.command == "test") && word == "-v") frame.test_evaluates = true;
  if (among(kDeclaring, frame.command) && word.size() < kKept && (word[0] == '-' || word[0] == '+') &&
      word.find('i') != std::string::npos)
    frame.test_evaluates = true;
  if (frame.test_evaluates && frame.test_has_value) throw Fault{std::string(kEvaluates)};
}

void ShellReader::newline() {
  Frame& frame = top();
  if (frame.command != "[[") frame.command.clear();
  frame.last = '\n';
  if (!frame.pending.empty()) begin_heredoc();
}

void ShellReader::begin_heredoc() {
  Heredoc heredoc = top().pending.front();
  top().pending.erase(top().pending.begin());
  push(Kind::kHeredoc);
  top().heredoc = std::move(heredoc);
}

void ShellReader::line_char(char c) {
  const int at = heredoc_frame();
  if (at < 0) return;
  Frame& frame = frames_[static_cast<std::size_t>(at)];
  if (c == '\t' && frame.line.empty() && frame.heredoc.strips_tabs) return;
  // One more than the mark is enough to differ from it.
  if (frame.line.size() <= frame.heredoc.mark.size()) frame.line += c;
}

void ShellReader::line_end() {
  Frame& frame = top();
  const bool ends = frame.line == frame.heredoc.mark;
  if (ends && frame.line_has_value)
    throw Fault{"a value makes a line that ends the here-document, " + quote(frame.heredoc.mark)};
  if (!ends && frames_[frames_.size() - 2].closes && frame.line == frame.heredoc.mark + ")")
    throw Fault{"the end of a here-document stands on a line of its own, the parenthesis on the next"};
  frame.line.clear();
  frame.line_has_value = false;
  if (!ends) return;
  frames_.pop_back();
  top().last = '\n';
  if (!top().pending.empty()) begin_heredoc();
}

bool ShellReader::is_directive(const Frame& frame) const {
  return frame.at_line_start && std::any_of(kDirectives.begin(), kDirectives.end(),
                                            [&](std::string_view word) { return frame.comment.starts_with(word); });
}

void ShellReader::comment_char(char c) {
  Frame& frame = top();
  const bool directive = is_directive(frame);
  if (frame.comment.size() < kKept) frame.comment += c;
  if (!directive) return;
  if (frame.sbatch_escape) {
    frame.sbatch_escape = false;
    frame.sbatch_in_argument = true;
  } else if (c == '\\') {
    frame.sbatch_escape = true;
  } else if (frame.sbatch_quote) {
    if (c == frame.sbatch_quote) frame.sbatch_quote = '\0';
  } else if (c == '"' || c == '\'') {
    frame.sbatch_quote = c;
    frame.sbatch_in_argument = true;
  } else {
    frame.sbatch_in_argument = !is_blank_char(c);
  }
}

std::size_t ShellReader::command_step(std::string_view text, std::size_t i, bool final) {
  const char c = text[i];
  const auto have = [&](std::size_t count) { return i + count < text.size() || final; };
  const auto ahead = [&](std::size_t count) { return i + count < text.size() ? text[i + count] : '\0'; };
  if (heredoc_frame() >= 0 && c != '$' && c != '\\') line_char(c);
  Frame& frame = top();
  const bool test = frame.command == "[[";
  if (frame.after_value && (c == '<' || c == '>'))
    throw Fault{"a number right before " + quote(std::string(1, c)) +
                " names a file descriptor; put a blank after the value"};
  if (frame.after_value && c == '(')
    throw Fault{"a value right before '(' is read as a function or a pattern; put a blank between"};
  switch (c) {
    case '\\':
      if (!have(1)) return kMore;
      if (i + 1 >= text.size()) {
        dangling_ = true;
        return i + 1;
      }
      if (text[i + 1] == '\0') throw Fault{"a script cannot hold a NUL byte"};
      if (text[i + 1] != '\n') {
        word_char(c);
        word_char(text[i + 1]);
        line_char(c);
        line_char(text[i + 1]);
      } else {
        // The line goes on; what was a value is no longer right before what follows it in the text.
        frame.last = '\n';
      }
      return i + 2;
    case '\'':
      push(Kind::kSingle);
      return i + 1;
    case '"':
      push(Kind::kDouble);
      return i + 1;
    case '`':
      push(Kind::kBacktick);
      return i + 1;
    case '$':
      return dollar(text, i, final);
    case ' ':
    case '\t':
      end_word();
      frame.last = c;
      return i + 1;
    case '\n':
      end_word();
      newline();
      return i + 1;
    case ';':
    case '|':
    case '&':
      if (c == '&' && !have(1)) return kMore;
      end_word();
      if (!test && !(c == '&' && (frame.last == '>' || frame.last == '<' || ahead(1) == '>'))) frame.command.clear();
      frame.last = c;
      return i + 1;
    case '<':
      if (!have(1) || (ahead(1) == '<' && !have(2))) return kMore;
      if (ahead(1) == '<' && ahead(2) == '<') {
        end_word();
        frame.last = c;
        return i + 3;
      }
      if (ahead(1) == '<') return here_document(text, i, final);
      [[fallthrough]];
    case '>':
      // 2> is no word of its own.
      if (frame.in_word && frame.word.find_first_not_of("0123456789") == std::string::npos && !frame.word.empty()) {
        frame.in_word = false;
        frame.word.clear();
      }
      end_word();
      frame.redirects = !test;
      frame.last = c;
      return i + 1;
    case '(': {
      if (!have(1)) return kMore;
      if (ahead(1) == '(' && !frame.in_word) {
        frame.last = c;
        push(Kind::kArithmetic);
        top().open = 2;
        return i + 2;
      }
      const bool array = frame.in_word && frame.last == '=';
      if (!frame.in_word) frame.last = c;
      push(Kind::kCommand);
      top().closes = true;
      top().is_array = array;
      top().last = ' ';
      if (test) top().command = "[[";
      return i + 1;
    }
    case ')': {
      end_word();
      if (!frame.closes) {
        // The end of a pattern of case.
        frame.command.clear();
        frame.last = c;
        return i + 1;
      }
      if (!frame.pending.empty()) throw Fault{"a parenthesis closes before the here-document in it has begun"};
      const bool part_of_word = frame.is_substitution;
      const bool array = frame.is_array;
      pop();
      if (!part_of_word && top().kind == Kind::kCommand) {
        Frame& outer = top();
        if (array) return i + 1;
        outer.in_word = false;
        outer.word.clear();
        outer.last = ' ';
        // name() { … }: what follows is a command again. In [[ ]] it is still the test.
        if (outer.command != "[[") outer.command.clear();
      }
      return i + 1;
    }
    case '#':
      if (!frame.in_word) {
        const bool at_line_start = at_line_start_ && frames_.size() == 1;
        push(Kind::kComment);
        top().at_line_start = at_line_start;
        top().comment = "#";
        return i + 1;
      }
      break;
    case '[':
      if (!have(1)) return kMore;
      if ((frame.in_word && is_identifier(frame.word)) ||
          (frame.is_array && !frame.in_word && !is_blank_char(ahead(1)))) {
        word_char(c);
        push(Kind::kSubscript);
        top().open = 1;
        return i + 1;
      }
      break;
    default:
      break;
  }
  word_char(c);
  return i + 1;
}

std::size_t ShellReader::here_document(std::string_view text, std::size_t i, bool final) {
  if (heredoc_frame() >= 0) throw Fault{"a here-document inside a here-document cannot be read along"};
  Heredoc heredoc;
  std::size_t j = i + 2;
  if (j < text.size() && text[j] == '-') {
    heredoc.strips_tabs = true;
    ++j;
  }
  while (j < text.size() && is_blank_char(text[j])) ++j;
  char quote_mark = '\0';
  for (;; ++j) {
    if (j >= text.size()) {
      if (!final) return kMore;
      throw Fault{"the end mark of a here-document is written out, without a value"};
    }
    const char c = text[j];
    if (quote_mark) {
      if (c == quote_mark)
        quote_mark = '\0';
      else if (c == '\n' || c == '\\' || c == '\0')
        throw Fault{"the end mark of a here-document is a plain word"};
      else
        heredoc.mark += c;
    } else if (c == '\'' || c == '"') {
      quote_mark = c;
      heredoc.quoted = true;
    } else if (c == '\\') {
      heredoc.quoted = true;
    } else if (is_blank_char(c) || std::string_view("\n;&|<>()").find(c) != std::string_view::npos) {
      break;
    } else if (c == '$' || c == '`' || c == '\0') {
      throw Fault{"the end mark of a here-document is a plain word"};
    } else {
      heredoc.mark += c;
    }
  }
  if (heredoc.mark.empty()) throw Fault{"a here-document needs a word that ends it"};
  end_word();
  top().last = ' ';
  top().pending.push_back(std::move(heredoc));
  return j;
}

void ShellReader::check_value_place() {
  if (!carry_.empty()) read(std::exchange(carry_, {}), true);
  if (dangling_) throw Fault{"a value cannot follow a lone backslash or '$'"};
  if (dollar_name_) throw Fault{"a value right after a variable would become part of its name; write ${name}"};
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    const Frame& frame = frames_[i];
    switch (frame.kind) {
      case Kind::kAnsi:
      case Kind::kBacktick:
      case Kind::kParameter:
      case Kind::kArithmetic:
      case Kind::kBracket:
      case Kind::kSubscript: {
        ShellReader here;
        here.frames_.push_back(frame);
        throw Fault{"cannot print " + here.place() + "; set a variable first and use that"};
      }
      case Kind::kHeredoc:
        if (i + 1 < frames_.size())
          throw Fault{"cannot print inside an expansion in a here-document; set a variable first and use that"};
        break;
      case Kind::kCommand:
        if (among(kRereading, frame.command))
          throw Fault{"cannot print into the words of " + quote(frame.command) + ", which reads them a second time"};
        break;
      case Kind::kComment:
        if (!frame.at_line_start) break;
        if (frame.comment.starts_with("#!")) throw Fault{"cannot print into the line that names the interpreter"};
        if (is_directive(frame)) {
          if (!frame.comment.starts_with("#SBATCH")) throw Fault{"only #SBATCH lines may hold values"};
          if (frame.comment.size() == 7) throw Fault{"a blank goes between #SBATCH and a value"};
          if (frame.sbatch_escape) throw Fault{"a value cannot follow a lone backslash"};
        }
        if (std::any_of(kDirectives.begin(), kDirectives.end(), [&](std::string_view word) {
              return word.size() > frame.comment.size() && word.starts_with(frame.comment);
            }))
          throw Fault{"a value here could turn the comment into a line for sbatch; put a blank after '#'"};
        break;
      case Kind::kSingle:
      case Kind::kDouble:
        break;
    }
  }
  if (top().kind == Kind::kCommand &&
      (top().command == "[[" || top().command == "[" || top().command == "test" || among(kDeclaring, top().command))) {
    top().test_has_value = true;
    if (top().test_evaluates) throw Fault{std::string(kEvaluates)};
  }
}

void ShellReader::after_value(std::string_view written) {
  Frame& frame = top();
  at_line_start_ = false;
  dangling_ = dollar_name_ = false;
  if (frame.kind == Kind::kCommand) {
    frame.after_value = !frame.in_word;
    frame.in_word = true;
    if (frame.word.size() < kKept) frame.word += kValueMark;
    frame.last = written.empty() ? '\'' : written.back();
  } else if (frame.kind == Kind::kComment) {
    if (frame.comment.size() < kKept) frame.comment += kValueMark;
    frame.sbatch_in_argument = true;
  } else if (frame.kind == Kind::kHeredoc) {
    frame.line_has_value = true;
  }
}

void ShellReader::any_value() {
  check_value_place();
  after_value("x");
}

std::string ShellReader::sbatch_value(std::string_view value) {
  const Frame& frame = top();
  for (char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      throw Fault{"a #SBATCH line cannot hold a newline or another control character: " + quote(value)};
  }
  const std::string small = lower(value);
  if (small.find("packjob") != std::string::npos || small.find("hetjob") != std::string::npos)
    throw Fault{"sbatch takes the words packjob and hetjob for its own wherever they stand in a #SBATCH line: " +
                quote(value)};
  if (value.size() > 4000) throw Fault{"a value of more than 4,000 bytes does not fit into a #SBATCH line"};
  if (frame.sbatch_quote == '"') return escaped(value, "\\\"");
  if (frame.sbatch_quote == '\'') {
    if (value.find_first_of("'\\") != std::string_view::npos)
      throw Fault{"a value with a quote or a backslash cannot stand in single quotes of a #SBATCH line: " +
                  quote(value)};
    return std::string(value);
  }
  if (value.empty() && !frame.sbatch_in_argument) throw Fault{"an empty value cannot be an argument of a #SBATCH line"};
  const bool safe = !value.empty() && (frame.sbatch_in_argument || value[0] != ':') &&
                    std::all_of(value.begin(), value.end(), [](char c) {
                      return is_alnum(c) || std::string_view("_./:=,@%+-[]").find(c) != std::string_view::npos;
                    });
  return safe ? std::string(value) : '"' + escaped(value, "\\\"") + '"';
}

std::string ShellReader::value(std::string_view value) {
  check_value_place();
  if (value.find('\0') != std::string_view::npos) throw Fault{"the value holds a NUL byte, which a script cannot hold"};
  if (value.find('\n') != std::string_view::npos)
    for (const Frame& frame : frames_)
      if (!frame.pending.empty())
        throw Fault{"a value with a newline cannot stand on a line that begins a here-document"};
  std::string written;
  Frame& frame = top();
  switch (frame.kind) {
    case Kind::kDouble:
      written = escaped(value, "\\$`\"");
      break;
    case Kind::kSingle:
      for (char c : value) {
        if (c == '\'')
          written += "'\\''";
        else
          written += c;
      }
      break;
    case Kind::kComment:
      if (is_directive(frame)) {
        written = sbatch_value(value);
      } else {
        written = value;
        std::replace_if(
            written.begin(), written.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
      }
      break;
    case Kind::kHeredoc:
      written = frame.heredoc.quoted ? std::string(value) : escaped(value, "\\$`");
      for (char c : written) {
        frame.line_has_value = true;
        if (c != '\n') {
          line_char(c);
          continue;
        }
        if (frame.line == frame.heredoc.mark)
          throw Fault{"a value makes a line that ends the here-document, " + quote(frame.heredoc.mark)};
        frame.line.clear();
      }
      break;
    default:
      written = is_plain(value, frame.in_word ? frame.last : ' ') ? std::string(value) : shell_quote(value);
      break;
  }
  after_value(written);
  return written;
}

void ShellReader::words(std::string_view quoted) {
  check_value_place();
  if (top().kind != Kind::kCommand)
    throw Fault{"a list of words cannot be printed " + place() + "; it stands between words"};
  if (top().in_word) throw Fault{"a list of words needs a blank before it"};
  if (quoted.find('\n') != std::string_view::npos)
    for (const Frame& frame : frames_)
      if (!frame.pending.empty())
        throw Fault{"a value with a newline cannot stand on a line that begins a here-document"};
  if (!quoted.empty()) after_value(quoted);
}

void ShellReader::end() {
  if (!carry_.empty()) read(std::exchange(carry_, {}), true);
  if (top().kind == Kind::kComment || top().kind == Kind::kSubscript) return;
  // A last line without a newline still ends the here-document.
  if (top().kind == Kind::kHeredoc && top().line == top().heredoc.mark && !top().line_has_value &&
      frames_.size() == 2 && frames_[0].pending.empty())
    return;
  if (frames_.size() > 1) throw Fault{"the script ends " + place()};
  if (!top().pending.empty())
    throw Fault{"the script ends before the here-document " + quote(top().pending.front().mark)};
}

bool ShellReader::same_place(const ShellReader& other) const {
  return std::equal(frames_.begin(), frames_.end(), other.frames_.begin(), other.frames_.end(),
                    [](const Frame& a, const Frame& b) {
                      return a.kind == b.kind && a.closes == b.closes && a.is_array == b.is_array && a.open == b.open &&
                             a.pending.size() == b.pending.size() && a.sbatch_quote == b.sbatch_quote &&
                             a.heredoc.mark == b.heredoc.mark && (a.command == "[[") == (b.command == "[[");
                    });
}

std::string ShellReader::place() const {
  switch (top().kind) {
    case Kind::kCommand:
      return top().is_array ? "inside an array" : top().closes ? "inside parentheses" : "between commands";
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
      return "inside the here-document " + quote(top().heredoc.mark);
  }
  return {};
}

}  // namespace orch::tmpl
