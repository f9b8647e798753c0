#include "base/template/lexer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/// As Jinja does before anything else: newlines become \n and the last one goes.
std::string normalized(std::string_view text, bool keep_trailing_newline) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  if (!keep_trailing_newline && !out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string text, const std::string& file, const Options& options)
      : text_(std::move(text)), file_(file), options_(options) {
    for (std::size_t i = 0; i < text_.size(); ++i)
      if (text_[i] == '\n') line_starts_.push_back(i + 1);
  }

  std::vector<Token> run() {
    while (at_ < text_.size()) outside();
    emit(Token::Kind::kEnd, {}, at_);
    return std::move(tokens_);
  }

 private:
  /// A sign after the opening of a tag or before its end: '-', '+' or 0.
  static char sign(char c) { return c == '-' || c == '+' ? c : '\0'; }

  void outside() {
    const std::size_t from = at_;
    std::size_t tag = from;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        tag = text_.size();
        break;
      }
      const char next = text_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    if (tag == text_.size()) {
      add_text(from, tag);
      at_ = tag;
      return;
    }
    const char kind = text_[tag + 1];
    if (kind == '#' && tag > from && text_[tag - 1] == '$' && options_.escape == Options::Escape::kShell)
      fail(tag, "'{#' begins a comment of the template, also in '${#'; write {% raw %}${#name}{% endraw %}");
    const char mark = tag + 2 < text_.size() ? sign(text_[tag + 2]) : '\0';
    add_text(from, text_end(from, tag, mark, kind != '{'));
    at_ = tag + 2 + (mark ? 1 : 0);
    if (kind == '#') return comment(tag);
    if (kind == '%' && raw(tag)) return;
    emit(kind == '{' ? Token::Kind::kOutputBegin : Token::Kind::kBlockBegin, {}, tag);
    inside(tag, kind);
  }

  /// Where the text before a tag ends once the white space before the tag is taken away.
  std::size_t text_end(std::size_t from, std::size_t tag, char mark, bool block) const {
    std::size_t end = tag;
    if (mark == '-') {
      while (end > from && is_space(text_[end - 1])) --end;
    } else if (mark != '+' && options_.lstrip_blocks && block) {
      while (end > from && is_space(text_[end - 1]) && text_[end - 1] != '\n') --end;
      const bool begins_line = end > from ? text_[end - 1] == '\n' : line_starting_;
      if (!begins_line) end = tag;
    }
    return end;
  }

  void comment(std::size_t tag) {
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) fail(tag, "this comment is not closed; expected '#}'");
    // The sign of {#-#} belongs to the opening.
    close(end > at_ ? sign(text_[end - 1]) : '\0', end + 2, true);
  }

  /// {% raw %} … {% endraw %}, when it stands here.
  bool raw(std::size_t tag) {
    std::size_t at = at_;
    const auto word = [&](std::string_view expected) {
      while (at < text_.size() && is_space(text_[at])) ++at;
      if (text_.compare(at, expected.size(), expected) != 0) return false;
      at += expected.size();
      while (at < text_.size() && is_space(text_[at])) ++at;
      return true;
    };
    const auto end_of_tag = [&](char& mark) {
      mark = at < text_.size() ? sign(text_[at]) : '\0';
      if (mark) ++at;
      if (text_.compare(at, 2, "%}") != 0) return false;
      at += 2;
      return true;
    };
    char mark = '\0';
    if (!word("raw") || !end_of_tag(mark)) return false;
    close(mark, at, false);
    const std::size_t from = at_;
    for (std::size_t end = text_.find("{%", from); end != std::string::npos; end = text_.find("{%", end + 1)) {
      at = end + 2;
      const char before = at < text_.size() ? sign(text_[at]) : '\0';
      if (before) ++at;
      if (!word("endraw") || !end_of_tag(mark)) continue;
      add_text(from, text_end(from, end, before, true));
      close(mark, at, true);
      return true;
    }
    fail(tag, "this raw block is not closed; expected '{% endraw %}'");
  }

  /// Goes on after a tag that ends at `end`, past the white space that its sign or trim_blocks takes away.
  void close(char mark, std::size_t end, bool block) {
    at_ = end;
    if (mark == '-')
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    else if (mark != '+' && block && options_.trim_blocks && at_ < text_.size() && text_[at_] == '\n')
      ++at_;
    line_starting_ = at_ > 0 && text_[at_ - 1] == '\n';
  }

  void inside(std::size_t tag, char kind) {
    const std::string_view ending = kind == '{' ? "}}" : "%}";
    std::vector<char> open;
    for (;;) {
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
      if (at_ >= text_.size()) fail(tag, "this tag is not closed; expected " + quote(ending));
      if (open.empty()) {
        const bool marked = sign(text_[at_]) && text_.compare(at_ + 1, 2, ending) == 0;
        if (marked || text_.compare(at_, 2, ending) == 0) {
          // {{ x +}} is no sign in Jinja but an operator without an operand.
          if (!(marked && text_[at_] == '+' && kind == '{')) {
            const std::size_t place = at_;
            close(marked ? text_[at_] : '\0', at_ + (marked ? 3 : 2), kind == '%');
            emit(kind == '{' ? Token::Kind::kOutputEnd : Token::Kind::kBlockEnd, {}, place);
            return;
          }
        }
      }
      token(open);
    }
  }

  void token(std::vector<char>& open) {
    const std::size_t from = at_;
    const char c = text_[at_];
    if (is_name_start(c)) {
      while (at_ < text_.size() && is_name_char(text_[at_])) ++at_;
      return emit(Token::Kind::kName, text_.substr(from, at_ - from), from);
    }
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string();
    static constexpr std::array<std::string_view, 25> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "*",
                                                                    "/",  "%",  "~",  "<",  ">",  "=",  "|", ".", ",",
                                                                    ":",  "(",  ")",  "[",  "]",  "{",  "}"};
    for (std::string_view op : kOperators) {
      if (text_.compare(at_, op.size(), op) != 0) continue;
      if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) fail(at_, quote(std::string(1, c)) + " closes nothing");
        if (open.back() != c)
          fail(at_, "expected " + quote(std::string(1, open.back())) + ", found " + quote(std::string(1, c)));
        open.pop_back();
      }
      at_ += op.size();
      return emit(Token::Kind::kOperator, std::string(op), from);
    }
    fail(at_, "the character " + quote(std::string(1, c)) + " means nothing here");
  }

  void number() {
    const std::size_t from = at_;
    const auto digits = [&](int base) {
      std::size_t count = 0;
      while (at_ < text_.size() && (digit_value(text_[at_]) < base || (text_[at_] == '_' && at_ + 1 < text_.size() &&
                                                                       digit_value(text_[at_ + 1]) < base))) {
        ++at_;
        ++count;
      }
      return count;
    };
    if (text_[at_] == '0' && at_ + 2 < text_.size()) {
      const char base = lower(text_.substr(at_ + 1, 1))[0];
      const int radix = base == 'x' ? 16 : base == 'o' ? 8 : base == 'b' ? 2 : 0;
      if (radix && digit_value(text_[at_ + 2]) < radix) {
        at_ += 2;
        digits(radix);
        return integer(from, from + 2, radix);
      }
    }
    digits(10);
    bool is_float = false;
    if (at_ + 1 < text_.size() && text_[at_] == '.' && is_digit(text_[at_ + 1])) {
      ++at_;
      digits(10);
      is_float = true;
    }
    if (at_ + 1 < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      std::size_t power = at_ + 1;
      if (text_[power] == '+' || text_[power] == '-') ++power;
      if (power < text_.size() && is_digit(text_[power])) {
        at_ = power;
        digits(10);
        is_float = true;
      }
    }
    if (!is_float) return integer(from, from, 10);
    std::string plain = text_.substr(from, at_ - from);
    std::erase(plain, '_');
    emit(Token::Kind::kFloat, std::move(plain), from);
  }

  void integer(std::size_t from, std::size_t first_digit, int radix) {
    std::int64_t value = 0;
    for (std::size_t i = first_digit; i < at_; ++i) {
      if (text_[i] == '_') continue;
      if (__builtin_mul_overflow(value, radix, &value) || __builtin_add_overflow(value, digit_value(text_[i]), &value))
        fail(from, "this integer does not fit into 64 bits");
    }
    emit(Token::Kind::kInteger, std::to_string(value), from);
  }

  void string() {
    const std::size_t from = at_;
    const char mark = text_[at_++];
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail(from, "this text is not closed; expected " + std::string(1, mark));
      const char c = text_[at_++];
      if (c == mark) break;
      if (c != '\\')
        out += c;
      else if (at_ < text_.size())
        escape(out, from);
    }
    emit(Token::Kind::kString, std::move(out), from);
  }

  /// What follows a backslash in the string that begins at `from`.
  void escape(std::string& out, std::size_t from) {
    static constexpr std::pair<char, char> kSingle[] = {{'\\', '\\'}, {'\'', '\''}, {'"', '"'},  {'a', '\a'},
                                                        {'b', '\b'},  {'f', '\f'},  {'n', '\n'}, {'r', '\r'},
                                                        {'t', '\t'},  {'v', '\v'}};
    const char c = text_[at_++];
    if (c == '\n') return;
    for (const auto& [letter, meaning] : kSingle) {
      if (letter != c) continue;
      out += meaning;
      return;
    }
    if (c == 'x' || c == 'u' || c == 'U') return hexadecimal(out, from, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (digit_value(c) >= 8) {
      out += '\\';
      out += c;
      return;
    }
    std::int32_t code = digit_value(c);
    for (int i = 0; i < 2 && at_ < text_.size() && digit_value(text_[at_]) < 8; ++i)
      code = code * 8 + digit_value(text_[at_++]);
    append_code_point(out, code);
  }

  void hexadecimal(std::string& out, std::size_t from, int count) {
    std::uint32_t code = 0;
    for (int i = 0; i < count; ++i) {
      if (at_ >= text_.size() || digit_value(text_[at_]) > 15)
        fail(at_, "expected " + std::to_string(count) + " hexadecimal digits");
      code = code << 4 | static_cast<std::uint32_t>(digit_value(text_[at_++]));
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
      fail(from, "this text holds an escape that is no character");
    append_code_point(out, static_cast<std::int32_t>(code));
  }

  void add_text(std::size_t from, std::size_t to) {
    if (to > from) emit(Token::Kind::kText, text_.substr(from, to - from), from);
  }

  void emit(Token::Kind kind, std::string text, std::size_t place) {
    const auto [line, column] = place_of(place);
    tokens_.push_back({kind, std::move(text), line, column});
  }

  std::pair<int, int> place_of(std::size_t at) const {
    const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), at);
    return {static_cast<int>(after - line_starts_.begin()), static_cast<int>(at - *(after - 1)) + 1};
  }

  [[noreturn]] void fail(std::size_t at, std::string what) const {
    const auto [line, column] = place_of(at);
    throw TemplateError{file_, line, column, std::move(what)};
  }

  std::string text_;
  const std::string& file_;
  const Options& options_;
  std::vector<std::size_t> line_starts_{0};
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  bool line_starting_ = true;  ///< whether what was last consumed ended with a newline
};

}  // namespace

std::vector<Token> tokens_of(std::string_view text, const std::string& file, const Options& options) {
  return Lexer(normalized(text, options.keep_trailing_newline), file, options).run();
}

}  // namespace orch::tmpl
