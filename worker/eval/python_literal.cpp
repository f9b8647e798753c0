#include "eval/python_literal.h"

#include <charconv>
#include <string>

#include "base/template/characters.h"
#include "base/template/code_points.h"

namespace orch::eval {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostDepth = 64;
constexpr std::int32_t kLastCodePoint = 0x10FFFF;

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<Json> whole() {
    auto value = read(0);
    skip_blanks();
    if (!text_.empty()) return std::nullopt;
    return value;
  }

 private:
  bool at(char c) const { return !text_.empty() && text_.front() == c; }
  bool skip(char c) { return at(c) && (text_.remove_prefix(1), true); }
  bool skip_word(std::string_view word) {
    if (!text_.starts_with(word)) return false;
    if (text_.size() > word.size() && tmpl::is_name_char(text_[word.size()])) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  void skip_blanks() {
    while (!text_.empty() && std::string_view(" \t\n\r\f").find(text_.front()) != std::string_view::npos)
      text_.remove_prefix(1);
  }

  std::optional<Json> read(int depth) {
    if (depth > kMostDepth) return std::nullopt;
    skip_blanks();
    if (text_.empty()) return std::nullopt;
    if (skip_word("None")) return Json(nullptr);
    if (skip_word("True")) return Json(true);
    if (skip_word("False")) return Json(false);
    if (skip('[')) return list(']', depth);
    if (skip('(')) return in_parentheses(depth);
    if (skip('{')) return map(depth);
    if (at('\'') || at('"')) return texts();
    return number();
  }

  std::optional<Json> list(char end, int depth) {
    Json items = Json::array();
    for (;;) {
      skip_blanks();
      if (skip(end)) return items;
      auto item = read(depth + 1);
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
      skip_blanks();
      if (!skip(',') && !at(end)) return std::nullopt;
    }
  }

  /// `(1)` is 1, `(1,)` and `()` are tuples.
  std::optional<Json> in_parentheses(int depth) {
    Json items = Json::array();
    bool has_comma = false;
    for (;;) {
      skip_blanks();
      if (skip(')')) return items.size() == 1 && !has_comma ? items[0] : items;
      auto item = read(depth + 1);
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
      skip_blanks();
      if (skip(','))
        has_comma = true;
      else if (!at(')'))
        return std::nullopt;
    }
  }

  std::optional<Json> map(int depth) {
    Json entries = Json::object();
    for (;;) {
      skip_blanks();
      if (skip('}')) return entries;
      auto key = read(depth + 1);
      skip_blanks();
      if (!key || !key->is_string() || !skip(':')) return std::nullopt;
      auto value = read(depth + 1);
      if (!value) return std::nullopt;
      entries[key->get<std::string>()] = std::move(*value);
      skip_blanks();
      if (!skip(',') && !at('}')) return std::nullopt;
    }
  }

  std::optional<Json> texts() {
    std::string joined;
    do {
      if (!text(joined)) return std::nullopt;
      skip_blanks();
    } while (at('\'') || at('"'));
    return Json(std::move(joined));
  }

  bool text(std::string& out) {
    const char mark = text_.front();
    const std::string thrice(3, mark);
    const bool is_long = text_.starts_with(thrice);
    const std::string end = is_long ? thrice : std::string(1, mark);
    text_.remove_prefix(end.size());
    while (!text_.empty()) {
      if (text_.starts_with(end)) {
        text_.remove_prefix(end.size());
        return true;
      }
      if (at('\n') && !is_long) return false;
      if (skip('\\')) {
        if (!escape(out)) return false;
      } else {
        out += text_.front();
        text_.remove_prefix(1);
      }
    }
    return false;
  }

  bool escape(std::string& out) {
    if (text_.empty()) return false;
    const char c = text_.front();
    text_.remove_prefix(1);
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const std::size_t i = kLetters.find(c); i != std::string_view::npos) {
      out += kMeanings[i];
      return true;
    }
    switch (c) {
      case '\n':
        return true;
      case 'x':
        return code(out, 2, 16);
      case 'u':
        return code(out, 4, 16);
      case 'U':
        return code(out, 8, 16);
      case 'N':
        return false;  // a character by its name
      default:
        break;
    }
    if (c >= '0' && c <= '7') {
      std::int32_t value = c - '0';
      for (int i = 0; i < 2 && !text_.empty() && text_.front() >= '0' && text_.front() <= '7'; ++i) {
        value = value * 8 + (text_.front() - '0');
        text_.remove_prefix(1);
      }
      tmpl::append_code_point(out, value);
      return true;
    }
    out += '\\';
    out += c;
    return true;
  }

  bool code(std::string& out, std::size_t digits, int base) {
    if (text_.size() < digits) return false;
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + digits, value, base);
    if (error != std::errc() || end != text_.data() + digits || value > kLastCodePoint) return false;
    if (value >= 0xD800 && value <= 0xDFFF) return false;  // half a character: no UTF-8 has it
    tmpl::append_code_point(out, static_cast<std::int32_t>(value));
    text_.remove_prefix(digits);
    return true;
  }

  std::optional<Json> number() {
    const bool is_negative = skip('-');
    if (!is_negative) skip('+');
    skip_blanks();
    std::size_t length = 0;
    while (length < text_.size() && (tmpl::is_name_char(text_[length]) || text_[length] == '.' ||
                                     ((text_[length] == '-' || text_[length] == '+') && length > 0 &&
                                      tmpl::digit_value(text_[length - 1]) == 14)))
      ++length;
    std::string digits;
    for (std::size_t i = 0; i < length; ++i) {
      if (text_[i] != '_')
        digits += text_[i];
      else if (i == 0 || i + 1 == length || !tmpl::is_digit(text_[i - 1]) || !tmpl::is_digit(text_[i + 1]))
        return std::nullopt;
    }
    text_.remove_prefix(length);
    if (digits.empty() || !(tmpl::is_digit(digits[0]) || digits[0] == '.')) return std::nullopt;
    const char* const end = digits.data() + digits.size();
    const bool is_whole = digits.find_first_not_of("0123456789") == std::string::npos;
    if (is_whole) {
      if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos)
        return std::nullopt;
      std::int64_t value = 0;
      const auto read = std::from_chars(digits.data(), end, value);
      if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
      return Json(is_negative ? -value : value);
    }
    double value = 0;
    const auto read = std::from_chars(digits.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return Json(is_negative ? -value : value);
  }

  std::string_view text_;
};

}  // namespace

std::optional<nlohmann::ordered_json> python_literal(std::string_view text) {
  // literal_eval() takes blanks away before it parses, and an indented line would be an error.
  const std::size_t first = text.find_first_not_of(" \t");
  return Reader(first == std::string_view::npos ? std::string_view{} : text.substr(first)).whole();
}

}  // namespace orch::eval
