#include "base/template/shell_comment.h"

#include <algorithm>
#include <array>

#include "base/template/characters.h"
#include "base/template/shell_words.h"
#include "base/template/value.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 5> kDirectives = {"#SBATCH", "#SLURM", "#PBS", "#BSUB", "#COBALT"};
constexpr std::size_t kMostArgument = 4000;  // bytes

/// A Fault for what sbatch lets stand in no argument, however it is quoted.
void check_argument(std::string_view value) {
  for (char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      throw Fault{"a #SBATCH line cannot hold a newline or another control character: " + quote(value)};
  }
  const std::string small = lower(value);
  if (small.find("packjob") != std::string::npos || small.find("hetjob") != std::string::npos)
    throw Fault{"sbatch takes the words packjob and hetjob for its own wherever they stand in a #SBATCH line: " +
                quote(value)};
  if (value.size() > kMostArgument) throw Fault{"a value of more than 4,000 bytes does not fit into a #SBATCH line"};
}

bool is_plain_argument(char c) {
  return is_alnum(c) || std::string_view("_./:=,@%+-[]").find(c) != std::string_view::npos;
}

}  // namespace

bool ShellComment::is_directive() const {
  return at_line_start_ && std::any_of(kDirectives.begin(), kDirectives.end(),
                                       [&](std::string_view word) { return text_.starts_with(word); });
}

void ShellComment::add(char c) {
  const bool directive = is_directive();
  if (text_.size() < kKeptBytes) text_ += c;
  if (!directive) return;
  if (escape_) {
    escape_ = false;
    in_argument_ = true;
  } else if (c == '\\') {
    escape_ = true;
  } else if (quote_) {
    if (c == quote_) quote_ = '\0';
  } else if (c == '"' || c == '\'') {
    quote_ = c;
    in_argument_ = true;
  } else {
    in_argument_ = c != ' ' && c != '\t';
  }
}

void ShellComment::check_value() const {
  if (!at_line_start_) return;
  if (text_.starts_with("#!")) throw Fault{"cannot print into the line that names the interpreter"};
  if (is_directive()) {
    if (!text_.starts_with("#SBATCH")) throw Fault{"only #SBATCH lines may hold values"};
    if (text_ == "#SBATCH") throw Fault{"a blank goes between #SBATCH and a value"};
    if (escape_) throw Fault{"a value cannot follow a lone backslash"};
  }
  const auto may_become = [&](std::string_view word) { return word.size() > text_.size() && word.starts_with(text_); };
  if (std::any_of(kDirectives.begin(), kDirectives.end(), may_become))
    throw Fault{"a value here could turn the comment into a line for sbatch; put a blank after '#'"};
}

std::string ShellComment::value(std::string_view value) const {
  if (is_directive()) return argument(value);
  std::string written(value);
  std::replace_if(
      written.begin(), written.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return written;
}

std::string ShellComment::argument(std::string_view value) const {
  check_argument(value);
  if (quote_ == '"') return escaped(value, "\\\"");
  if (quote_ == '\'') {
    if (value.find_first_of("'\\") != std::string_view::npos)
      throw Fault{"a value with a quote or a backslash cannot stand in single quotes of a #SBATCH line: " +
                  quote(value)};
    return std::string(value);
  }
  if (value.empty() && !in_argument_) throw Fault{"an empty value cannot be an argument of a #SBATCH line"};
  const bool is_plain =
      !value.empty() && (in_argument_ || value[0] != ':') && std::all_of(value.begin(), value.end(), is_plain_argument);
  return is_plain ? std::string(value) : '"' + escaped(value, "\\\"") + '"';
}

void ShellComment::after_value() {
  if (text_.size() < kKeptBytes) text_ += kValueMark;
  in_argument_ = true;
}

}  // namespace orch::tmpl
