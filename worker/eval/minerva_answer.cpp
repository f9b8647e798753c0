// The normal form of Lewkowycz et al. 2022, appendix D, with the later corrections that lm-evaluation-harness 0.4.13
// has.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/template/characters.h"
#include "eval/math_answer.h"
#include "eval/pattern.h"
#include "eval/python_text.h"

namespace orch::eval {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<Pair, 10> kReplaced{{{"an ", ""},
                                          {"a ", ""},
                                          {".$", "$"},
                                          {"\\$", ""},
                                          {"\\ ", ""},
                                          {" ", ""},
                                          {"mbox", "text"},
                                          {",\\text{and}", ","},
                                          {"\\text{and}", ","},
                                          {"\\text{m}", "\\text{}"}}};

constexpr std::array<std::string_view, 41> kRemoved{"square",
                                                    "ways",
                                                    "integers",
                                                    "dollars",
                                                    "mph",
                                                    "inches",
                                                    "ft",
                                                    "hours",
                                                    "km",
                                                    "units",
                                                    "\\ldots",
                                                    "sue",
                                                    "points",
                                                    "feet",
                                                    "minutes",
                                                    "digits",
                                                    "cents",
                                                    "degrees",
                                                    "cm",
                                                    "gm",
                                                    "pounds",
                                                    "meters",
                                                    "meals",
                                                    "edges",
                                                    "students",
                                                    "childrentickets",
                                                    "multiples",
                                                    "\\text{s}",
                                                    "\\text{.}",
                                                    "\\text{\ns}",
                                                    "\\text{}^2",
                                                    "\\text{}^3",
                                                    "\\text{\n}",
                                                    "\\text{}",
                                                    "\\mathrm{th}",
                                                    "^\\circ",
                                                    "^{\\circ}",
                                                    "\\;",
                                                    ",\\!",
                                                    "{,}",
                                                    "\""};

bool is_word(std::string_view text) { return std::ranges::all_of(text, tmpl::is_alpha); }

Pattern pattern_of(const std::string& text) {
  auto pattern = Pattern::compile(text);
  if (!pattern) throw std::logic_error(pattern.error().what);
  return std::move(*pattern);
}

/// Takes a unit away where no letters of a LaTeX command touch it.
std::string without_unit(const std::string& text, std::string_view unit) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty()) {
    // A command as far as its letters go, then what follows until the next one.
    std::size_t command = 0;
    if (rest.front() == '\\') {
      command = 1;
      while (command < rest.size() && tmpl::is_alpha(rest[command])) ++command;
      if (command == 1) command = 0;
    }
    out += rest.substr(0, command);
    rest.remove_prefix(command);
    std::size_t end = 0;
    while (end < rest.size() && !(rest[end] == '\\' && end + 1 < rest.size() && tmpl::is_alpha(rest[end + 1]))) ++end;
    out += python_replace(rest.substr(0, end), unit, "");
    rest.remove_prefix(end);
  }
  return out;
}

/// Puts the groups of each match where `form` has their numbers after a backslash.
std::string rewritten(const std::string& text, const Pattern& pattern, std::string_view form) {
  std::string out;
  std::size_t from = 0;
  for (const Pattern::Match& match : pattern.find_all(text)) {
    out.append(text, from, match.begin - from);
    for (std::size_t i = 0; i < form.size(); ++i) {
      if (form[i] == '\\')
        out += match.groups[static_cast<std::size_t>(form[++i] - '1')];
      else
        out += form[i];
    }
    from = match.end;
  }
  return out.append(text, from);
}

struct Rewriting {
  Pattern pattern;
  std::string_view form;
};

const std::vector<Rewriting>& rewritings() {
  static const std::vector<Rewriting> kRewritings = [] {
    std::vector<Rewriting> made;
    for (const auto& [pattern, form] : std::initializer_list<Pair>{{R"((.*?)(\$)(.*?)(\$)(.*))", R"($\3$)"},
                                                                   {R"((\\text\{)(.*?)(\}))", R"(\2)"},
                                                                   {R"((\\textbf\{)(.*?)(\}))", R"(\2)"},
                                                                   {R"((\\overline\{)(.*?)(\}))", R"(\2)"},
                                                                   {R"((\\boxed\{)(.*)(\}))", R"(\2)"},
                                                                   {R"((frac)([^{])(.))", R"(frac{\2}{\3})"},
                                                                   {R"((sqrt)(\[[^\]]*\])(\w))", R"(\1\2{\3})"},
                                                                   {R"((sqrt)(?!\[)([^{]))", R"(sqrt{\2})"}})
      made.push_back({pattern_of(std::string(pattern)), form});
    return made;
  }();
  return kRewritings;
}

}  // namespace

std::string minerva_answer(std::string_view text) {
  static const Pattern kFinal = pattern_of(R"(Final Answer: The final answer is(.*?). I hope it is correct.)");
  const auto match = kFinal.find(std::string(text) + "I hope it is correct.");
  return match ? std::string(python_strip(match->groups[0])) : "[invalidanswer]";
}

std::string minerva_normalized(std::string_view answer) {
  static const std::vector<std::pair<std::string_view, Pattern>> kUnits = [] {
    std::vector<std::pair<std::string_view, Pattern>> units;
    for (const std::string_view removed : kRemoved)
      if (is_word(removed)) units.emplace_back(removed, pattern_of(R"((?<!\\)\b)" + std::string(removed) + R"(\b)"));
    return units;
  }();
  static const Pattern kGrouped = pattern_of(R"(\A-?\d{1,3}(,\d{3})+\z)");
  std::string text(answer.substr(answer.rfind('=') + 1));  // all of it, where there is none: npos + 1 is 0
  for (const auto& [unit, pattern] : kUnits) text = pattern.replaced(text);
  for (const auto& [from, to] : kReplaced) text = python_replace(text, from, to);
  for (const std::string_view removed : kRemoved)
    text = is_word(removed) ? without_unit(text, removed) : python_replace(text, removed, "");
  text = python_replace(text, "\\dots", "");
  for (const Rewriting& rewriting : rewritings()) text = rewritten(text, rewriting.pattern, rewriting.form);
  text = python_replace(text, "$", "");
  if (kGrouped.find(text)) text = python_replace(text, ",", "");
  return text;
}

}  // namespace orch::eval
