// Oniguruma's patterns in PCRE2's words.
//
// Differences that are put right: \s \d \w \h \v \b, POSIX brackets and script names (PCRE2 has other characters in
// them), (?m) (it lets . match a line's end), \u0000, {,n}. What PCRE2 10.42 cannot say is refused: classes in
// classes, &&, {n,m}+, calls, conditions.
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "base/text.h"
#include "model/tokenizer/regex.h"

namespace orch::tokenizer {
namespace {

/// A set of characters as the inside of a PCRE2 class; `single` when it is one item, which can be negated there.
struct Set {
  std::string inside;
  bool single = true;
};

/// Oniguruma counts Latin-1's raised digits and fractions in.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe)";

struct Named {
  std::string_view name;
  std::string_view inside;
  bool single = true;
};

constexpr std::array kNamed = {
    Named{"alnum", R"(\p{Alphabetic}\p{Nd})", false},
    Named{"alpha", R"(\p{Alphabetic})"},
    Named{"any", R"(\p{Any})"},
    Named{"ascii", R"(\x00-\x7f)"},
    Named{"blank", R"(\p{Zs}\t)", false},
    Named{"cntrl", R"(\p{Cc})"},
    Named{"digit", R"(\p{Nd})"},
    Named{"lower", R"(\p{Lowercase})"},
    Named{"punct", R"(\p{P}\p{S})", false},
    Named{"space", R"(\p{White_Space})"},
    Named{"upper", R"(\p{Uppercase})"},
    Named{"word", kWord, false},
    Named{"xdigit", R"(0-9A-Fa-f)", false},
    Named{"letter", R"(\p{L})"},
    Named{"uppercaseletter", R"(\p{Lu})"},
    Named{"lowercaseletter", R"(\p{Ll})"},
    Named{"titlecaseletter", R"(\p{Lt})"},
    Named{"modifierletter", R"(\p{Lm})"},
    Named{"otherletter", R"(\p{Lo})"},
    Named{"mark", R"(\p{M})"},
    Named{"nonspacingmark", R"(\p{Mn})"},
    Named{"spacingmark", R"(\p{Mc})"},
    Named{"enclosingmark", R"(\p{Me})"},
    Named{"number", R"(\p{N})"},
    Named{"decimalnumber", R"(\p{Nd})"},
    Named{"letternumber", R"(\p{Nl})"},
    Named{"othernumber", R"(\p{No})"},
    Named{"punctuation", R"(\p{P})"},
    Named{"connectorpunctuation", R"(\p{Pc})"},
    Named{"dashpunctuation", R"(\p{Pd})"},
    Named{"openpunctuation", R"(\p{Ps})"},
    Named{"closepunctuation", R"(\p{Pe})"},
    Named{"initialpunctuation", R"(\p{Pi})"},
    Named{"finalpunctuation", R"(\p{Pf})"},
    Named{"otherpunctuation", R"(\p{Po})"},
    Named{"symbol", R"(\p{S})"},
    Named{"mathsymbol", R"(\p{Sm})"},
    Named{"currencysymbol", R"(\p{Sc})"},
    Named{"modifiersymbol", R"(\p{Sk})"},
    Named{"othersymbol", R"(\p{So})"},
    Named{"separator", R"(\p{Z})"},
    Named{"spaceseparator", R"(\p{Zs})"},
    Named{"lineseparator", R"(\p{Zl})"},
    Named{"paragraphseparator", R"(\p{Zp})"},
    Named{"other", R"(\p{C})"},
    Named{"control", R"(\p{Cc})"},
    Named{"format", R"(\p{Cf})"},
    Named{"privateuse", R"(\p{Co})"},
    Named{"unassigned", R"(\p{Cn})"},
    Named{"alphabetic", R"(\p{Alphabetic})"},
    Named{"emoji", R"(\p{Emoji})"},
    Named{"extendedpictographic", R"(\p{Extended_Pictographic})"},
    Named{"ideographic", R"(\p{Ideographic})"},
    Named{"lowercase", R"(\p{Lowercase})"},
    Named{"uppercase", R"(\p{Uppercase})"},
    Named{"whitespace", R"(\p{White_Space})"},
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (at_ < in_.size() && !problem_) step();
    if (problem_)
      return Error{"the pattern " + quote(in_) + " has " + *problem_ + " at byte " + std::to_string(at_) +
                   ", which is not understood"};
    return std::move(out_);
  }

 private:
  bool peek(std::string_view what) const { return in_.substr(at_).starts_with(what); }
  void refuse(std::string what) {
    if (!problem_) problem_ = std::move(what);
  }

  void step() {
    const char c = in_[at_];
    if (c == '\\') return escape(false);
    if (c == '[') return bracket();
    if (peek("(?")) return group();
    if (c == '{') return interval();
    out_ += c;
    ++at_;
  }

  /// (?: and its like; options.
  void group() {
    std::size_t end = at_ + 2;
    static constexpr std::array<std::string_view, 6> kPlain = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    for (const std::string_view plain : kPlain)
      if (peek(plain)) {
        out_ += plain;
        at_ += plain.size();
        return;
      }
    if (peek("(?#")) {
      end = in_.find(')', at_);
      if (end == std::string_view::npos) return refuse("a comment without an end");
      at_ = end + 1;
      return;
    }
    if (peek("(?<")) {  // a name
      out_ += "(?<";
      at_ += 3;
      return;
    }
    std::string options;
    for (; end < in_.size() && in_[end] != ':' && in_[end] != ')'; ++end) {
      const char option = in_[end];
      if (option != 'i' && option != 'm' && option != 'x' && option != '-') return refuse("a group of an unknown kind");
      options += option == 'm' ? 's' : option;
    }
    if (end == in_.size()) return refuse("a group without an end");
    out_ += "(?" + options + in_[end];
    at_ = end + 1;
  }

  /// {n}, {n,}, {n,m}, {,m}; anything else is the character itself.
  void interval() {
    std::size_t end = at_ + 1;
    std::string body;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ','))
      body += in_[end++];
    const bool counts =
        end < in_.size() && in_[end] == '}' && !body.empty() && body != "," && body.find(',') == body.rfind(',');
    if (!counts) {
      out_ += R"(\{)";
      ++at_;
      return;
    }
    const char behind = end + 1 < in_.size() ? in_[end + 1] : '\0';
    if (behind == '+') return refuse("a + behind {…}");
    if (behind == '?' && body.find(',') == std::string::npos) return refuse("a ? behind {n}");
    out_ += "{" + (body.front() == ',' ? "0" + body : body) + "}";
    at_ = end + 1;
  }

  std::optional<Set> property(bool& negated) {
    if (at_ + 1 >= in_.size() || in_[at_] != '{') {
      refuse("\\p without braces");
      return std::nullopt;
    }
    const std::size_t end = in_.find('}', at_);
    if (end == std::string_view::npos || end - at_ > 60) {
      refuse("\\p{ without an end");
      return std::nullopt;
    }
    std::string_view name = in_.substr(at_ + 1, end - at_ - 1);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    at_ = end + 1;
    std::string plain;
    for (const char c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      if (!std::isalnum(static_cast<unsigned char>(c))) {
        refuse("a property's name that is not one");
        return std::nullopt;
      }
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    for (const Named& known : kNamed)
      if (known.name == plain) return Set{std::string(known.inside), known.single};
    // One or two letters are a category. What is left is a script: PCRE2 would take its extensions in, too.
    if (plain.size() <= 2) return Set{"\\p{" + std::string(name) + "}"};
    return Set{"\\p{sc:" + std::string(name) + "}"};
  }

  void put(const Set& set, bool negated, bool in_class) {
    if (!in_class) {
      if (set.single && set.inside.starts_with("\\p")) {
        out_ += negated ? "\\P" + set.inside.substr(2) : set.inside;
      } else {
        out_ += (negated ? "[^" : "[") + set.inside + "]";
      }
    } else if (!negated) {
      out_ += set.inside;
    } else if (set.single && set.inside.starts_with("\\p")) {
      out_ += "\\P" + set.inside.substr(2);
    } else {
      refuse("the opposite of a set in a class");
    }
  }

  std::optional<unsigned> hex(std::size_t from, std::size_t count) const {
    if (from + count > in_.size() || count == 0 || count > 8) return std::nullopt;
    unsigned value = 0;
    for (std::size_t i = from; i < from + count; ++i) {
      const auto c = static_cast<unsigned char>(in_[i]);
      if (!std::isxdigit(c)) return std::nullopt;
      value = value * 16 + static_cast<unsigned>(std::isdigit(c) ? c - '0' : std::tolower(c) - 'a' + 10);
    }
    return value;
  }

  void code_point(std::optional<unsigned> value, std::size_t size) {
    if (!value || *value > 0x10FFFF || (*value >= 0xD800 && *value < 0xE000))
      return refuse("a character's number that is none");
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string digits;
    for (unsigned left = *value; left > 0; left /= 16) digits.insert(digits.begin(), kDigits[left % 16]);
    out_ += "\\x{" + (digits.empty() ? "0" : digits) + "}";
    at_ += size;
  }

  void escape(bool in_class) {
    if (at_ + 1 >= in_.size()) return refuse("a \\ at its end");
    const char c = in_[at_ + 1];
    at_ += 2;
    bool negated = std::isupper(static_cast<unsigned char>(c)) != 0;
    switch (c) {
      case 's':
      case 'S':
        return put({R"(\p{White_Space})"}, negated, in_class);
      case 'd':
      case 'D':
        return put({R"(\p{Nd})"}, negated, in_class);
      case 'w':
      case 'W':
        return put({std::string(kWord), false}, negated, in_class);
      case 'h':
      case 'H':
        return put({"0-9A-Fa-f", false}, negated, in_class);
      case 'p':
      case 'P':
        if (const auto set = property(negated)) put(*set, negated, in_class);
        return;
      case 'v':
        out_ += R"(\x0b)";
        return;
      case 'x': {
        at_ -= 2;
        if (peek("\\x{")) {
          const std::size_t end = in_.find('}', at_);
          if (end == std::string_view::npos) return refuse("\\x{ without an end");
          return code_point(hex(at_ + 3, end - at_ - 3), end + 1 - at_);
        }
        const auto byte = hex(at_ + 2, 2);
        if (byte && *byte >= 0x80) return refuse("a byte that is no character");
        return code_point(byte, 4);
      }
      case 'u':
        at_ -= 2;
        return code_point(hex(at_ + 2, 4), 6);
      case 'n':
      case 't':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
      case '0':
        out_ += {'\\', c};
        return;
      case 'b':
        if (in_class) {
          out_ += R"(\x08)";
          return;
        }
        [[fallthrough]];
      case 'B': {
        if (in_class) return refuse("\\B in a class");
        const std::string word = "[" + std::string(kWord) + "]";
        out_ += negated ? "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))"
                        : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
        return;
      }
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
      case 'R':
      case 'X':
        if (in_class) return refuse("\\" + std::string(1, c) + " in a class");
        out_ += {'\\', c};
        return;
      case 'O':
        if (in_class) return refuse("\\O in a class");
        out_ += "(?s:.)";
        return;
      default:
        break;
    }
    if (std::isalpha(static_cast<unsigned char>(c))) return refuse("\\" + std::string(1, c));
    if (std::isdigit(static_cast<unsigned char>(c)) && in_class) return refuse("an octal number");
    out_ += {'\\', c};
  }

  void bracket() {
    out_ += '[';
    ++at_;
    if (peek("^")) {
      out_ += '^';
      ++at_;
    }
    if (peek("]")) {
      out_ += R"(\])";
      ++at_;
    }
    while (!problem_) {
      if (at_ >= in_.size()) return refuse("a class without an end");
      const char c = in_[at_];
      if (c == ']') break;
      if (c == '\\') {
        escape(true);
      } else if (peek("[:")) {
        posix();
      } else if (c == '[') {
        refuse("a class in a class");
      } else if (peek("&&")) {
        refuse("&&");
      } else {
        out_ += c;
        ++at_;
      }
    }
    if (problem_) return;
    out_ += ']';
    ++at_;
  }

  void posix() {
    const std::size_t end = in_.find(":]", at_);
    if (end == std::string_view::npos) return refuse("a class in a class");
    std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    for (const Named& known : kNamed) {
      if (known.name != name) continue;
      put({std::string(known.inside), known.single}, negated, true);
      at_ = end + 2;
      return;
    }
    refuse("[:" + std::string(name.substr(0, 20)) + ":]");
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  std::optional<std::string> problem_;
};

}  // namespace

Result<std::string> pcre2_pattern(std::string_view oniguruma) { return Translator(oniguruma).run(); }

}  // namespace orch::tokenizer
