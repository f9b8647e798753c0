#include "base/template/shell_words.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/template/characters.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 19> kReserved = {"if",     "then",   "elif",     "else", "fi",   "time", "for",
                                                        "in",     "until",  "while",    "do",   "done", "case", "esac",
                                                        "coproc", "select", "function", "let",  "eval"};
/// After these a command begins.
constexpr std::array<std::string_view, 14> kLeading = {"if", "then", "elif", "else",   "time",    "until",   "while",
                                                       "do", "!",    "{",    "coproc", "builtin", "command", "exec"};
constexpr std::array<std::string_view, 3> kDeclaring = {"declare", "typeset", "local"};
/// These read a word as a name or an expression of their own, in which $(…) runs.
constexpr std::array<std::string_view, 4> kRereading = {"eval", "let", "unset", "read"};
constexpr std::array<std::string_view, 6> kEvaluating = {"-eq", "-ne", "-lt", "-le", "-gt", "-ge"};

[[noreturn]] void fail_evaluated() {
  throw Fault{
      "bash evaluates words of this command as arithmetic or as names, so that a value could run another; compare with "
      "[ ], or use a variable that was checked"};
}

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

}  // namespace

bool is_plain_word(std::string_view text, char before) {
  if (text.empty() || among(kReserved, text) || text.find("..") != std::string_view::npos) return false;
  const auto plain = [](char c) {
    return is_alnum(c) || std::string_view("_./:@%+-").find(c) != std::string_view::npos;
  };
  if (!std::all_of(text.begin(), text.end(), plain)) return false;
  const char last = text.back();
  if (!is_name_char(last) && last != '/') return false;
  return is_name_char(before) || std::string_view(" \t\n=/-:").find(before) != std::string_view::npos;
}

std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (char c : text) {
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

void CommandWords::add(char c) {
  in_word = true;
  is_value = false;
  last = c;
  if (word.size() < kKeptBytes) word += c;
}

void CommandWords::add_value(std::string_view written) {
  is_value = !in_word;
  in_word = true;
  if (word.size() < kKeptBytes) word += kValueMark;
  last = written.empty() ? '\'' : written.back();
}

void CommandWords::end_word(bool in_parentheses) {
  if (!in_word) return;
  const std::string ended = std::exchange(word, {});
  in_word = false;
  is_value = false;
  if (is_array || std::exchange(redirects, false)) return;
  if (!command.empty()) return note_evaluation(ended);
  if (ended == "case" && in_parentheses)
    throw Fault{"'case' inside parentheses cannot be read along; put it into a function"};
  if (among(kLeading, ended) || is_assignment(ended)) return;
  command = ended;
  has_value_ = evaluates_ = false;
}

void CommandWords::note_evaluation(std::string_view argument) {
  if (is_test() && argument == "]]") {
    command = "]]";
    return;
  }
  if (is_test() && among(kEvaluating, argument)) evaluates_ = true;
  if ((is_test() || command == "[" || command == "test") && argument == "-v") evaluates_ = true;
  if (among(kDeclaring, command) && argument.size() < kKeptBytes &&
      (argument.starts_with('-') || argument.starts_with('+')) && argument.find('i') != std::string_view::npos)
    evaluates_ = true;
  if (evaluates_ && has_value_) fail_evaluated();
}

void CommandWords::end_command() {
  if (!is_test()) command.clear();
}

void CommandWords::drop_number() {
  if (!in_word || word.empty() || !std::all_of(word.begin(), word.end(), is_digit)) return;
  in_word = false;
  word.clear();
}

bool CommandWords::begins_subscript(char next) const {
  if (in_word) return is_identifier(word);
  return is_array && next != ' ' && next != '\t';
}

void CommandWords::check_rereading() const {
  if (among(kRereading, command))
    throw Fault{"cannot print into the words of " + quote(command) + ", which reads them a second time"};
}

void CommandWords::take_value() {
  if (!is_test() && command != "[" && command != "test" && !among(kDeclaring, command)) return;
  has_value_ = true;
  if (evaluates_) fail_evaluated();
}

}  // namespace orch::tmpl
