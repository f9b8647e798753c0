#include "eval/score/scanner.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"

namespace orch::eval {
namespace {

constexpr std::array<std::string_view, 35> kKeywords = {
    "False",  "None",     "True", "and",    "as",   "assert", "async",   "await",  "break", "class",  "continue", "def",
    "del",    "elif",     "else", "except", "for",  "from",   "finally", "global", "if",    "import", "in",       "is",
    "lambda", "nonlocal", "not",  "or",     "pass", "raise",  "return",  "try",    "while", "with",   "yield"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// Letters beyond ASCII are taken whatever they are.
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) { return begins_name(c) || is_digit(c); }

int digit_of(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 16;
}

void add_utf8(std::string& text, std::uint32_t code) {
  const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6);
    add(0x80 | (code & 63));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 63));
    add(0x80 | (code & 63));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 63));
    add(0x80 | (code >> 6 & 63));
    add(0x80 | (code & 63));
  }
}

}  // namespace

bool is_keyword(std::string_view name) { return std::ranges::find(kKeywords, name) != kKeywords.end(); }

void Scanner::skip_blanks() {
  for (;; ++at_) {
    const char c = peek();
    if (c == '#') at_ = std::min(text_.find('\n', at_), text_.size());
    if (at_end()) return;
    if (c == '\\' && peek(1) == '\n')
      ++at_;
    else if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '#')
      return;
  }
}

bool Scanner::take(std::string_view word) {
  skip_blanks();
  if (!text_.substr(at_).starts_with(word)) return false;
  at_ += word.size();
  return true;
}

bool Scanner::at_name() const { return begins_name(peek()); }
bool Scanner::at_number() const { return is_digit(peek()) || (peek() == '.' && is_digit(peek(1))); }
bool Scanner::at_text() const {
  std::size_t letters = 0;
  while (letters < 2 && std::string_view("rRuUbBfF").find(peek(letters)) != std::string_view::npos &&
         peek(letters) != '\0')
    ++letters;
  return peek(letters) == '\'' || peek(letters) == '"';
}

std::string Scanner::name() {
  const std::size_t from = at_;
  while (is_name(peek())) ++at_;
  return std::string(text_.substr(from, at_ - from));
}

Result<Value> Scanner::integer(std::string digits, int base) const {
  std::int64_t value = 0;
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (wrong != std::errc{} || end != digits.data() + digits.size())
    return error("a number of at most 64 bits was expected");
  return Value{value};
}

Result<Value> Scanner::number() {
  int base = 10;
  if (peek() == '0') {
    const char kind = peek(1);
    base = kind == 'x' || kind == 'X' ? 16 : kind == 'o' || kind == 'O' ? 8 : kind == 'b' || kind == 'B' ? 2 : 10;
    if (base != 10) at_ += 2;
  }
  std::string digits;
  const auto take_digits = [&](int of) {
    // One line may stand between digits, and behind the letter of the base.
    while (digit_of(peek()) < of || (peek() == '_' && digit_of(peek(1)) < of)) {
      if (peek() != '_') digits += peek();
      ++at_;
    }
  };
  take_digits(base);
  if (base != 10) {
    if (digits.empty() || is_name(peek())) return error("this is no number");
    return integer(std::move(digits), base);
  }
  bool real = false;
  if (peek() == '.') {
    real = true;
    digits += '.';
    ++at_;
    if (is_digit(peek())) take_digits(10);
  }
  if ((peek() == 'e' || peek() == 'E') &&
      (is_digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && is_digit(peek(2))))) {
    real = true;
    digits += 'e';
    ++at_;
    if (!is_digit(peek())) {
      digits += peek();
      ++at_;
    }
    take_digits(10);
  }
  if (is_name(peek())) return error("this is no number");
  if (!real) {
    if (digits.size() > 1 && digits.front() == '0' && digits.find_first_not_of('0') != std::string::npos)
      return error("a number does not begin with 0");
    return integer(std::move(digits), 10);
  }
  double value = 0;
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (wrong != std::errc{} || end != digits.data() + digits.size()) return error("a number is out of range");
  return Value{value};
}

Result<std::string> Scanner::text() {
  std::string all;
  do {
    auto one = one_text();
    if (!one) return one;
    all += *one;
    skip_blanks();
  } while (at_text());
  return all;
}

Result<std::string> Scanner::one_text() {
  bool raw = false;
  for (; peek() != '\'' && peek() != '"'; ++at_) {
    if (std::string_view("bBfF").find(peek()) != std::string_view::npos) return error("only plain texts are values");
    raw = raw || peek() == 'r' || peek() == 'R';
  }
  const char mark = peek();
  const bool triple = peek(1) == mark && peek(2) == mark;
  const std::string close(triple ? 3 : 1, mark);
  at_ += close.size();
  std::string text;
  while (!text_.substr(at_).starts_with(close)) {
    if (at_end() || (peek() == '\n' && !triple)) return error("a text has no end");
    if (peek() == '\\' && raw) {
      text += peek();
      ++at_;
      if (at_end()) return error("a text has no end");
      text += peek();
      ++at_;
    } else if (peek() == '\\') {
      if (auto wrong = escape(text)) return *std::move(wrong);
    } else {
      text += peek();
      ++at_;
    }
  }
  at_ += close.size();
  return text;
}

std::optional<Error> Scanner::escape(std::string& into) {
  const char kind = peek(1);
  at_ += std::min<std::size_t>(2, text_.size() - at_);
  constexpr std::string_view kPlain = "\\'\"abfnrtv", kMeant = "\\'\"\a\b\f\n\r\t\v";
  if (const std::size_t at = kPlain.find(kind); kind != '\0' && at != std::string_view::npos) {
    into += kMeant[at];
    return std::nullopt;
  }
  if (kind == '\n') return std::nullopt;
  if (kind >= '0' && kind <= '7') {
    auto code = static_cast<std::uint32_t>(kind - '0');
    for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i, ++at_)
      code = code * 8 + static_cast<std::uint32_t>(peek() - '0');
    add_utf8(into, code);
    return std::nullopt;
  }
  const std::size_t length = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  if (kind == 'N') return error("characters by their names are not read");
  if (length == 0) {
    into += '\\';
    if (kind != '\0') into += kind;
    return std::nullopt;
  }
  std::uint32_t code = 0;
  for (std::size_t i = 0; i < length; ++i, ++at_) {
    if (digit_of(peek()) == 16) return error("an escape has too few digits");
    code = code * 16 + static_cast<std::uint32_t>(digit_of(peek()));
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return error("an escape is no character");
  add_utf8(into, code);
  return std::nullopt;
}

Error Scanner::error(const std::string& what) const {
  return Error{what + ", at " + (at_end() ? "the end" : quote(text_.substr(at_, 20)))};
}

}  // namespace orch::eval
