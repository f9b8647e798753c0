#include "eval/math_answer.h"

#include <array>
#include <charconv>
#include <vector>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "eval/python_text.h"

namespace orch::eval {
namespace {

std::vector<std::string_view> parts_of(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + separator.size());
  }
}

/// The first character of a text that is not empty.
std::string_view first_of(std::string_view text) { return text.substr(0, tmpl::code_point_size(text)); }

/// `\frac12` as `\frac{1}{2}`; nothing where a fraction has no numerator at all.
std::optional<std::string> with_braced_fractions(const std::string& text) {
  const auto parts = parts_of(text, "\\frac");
  std::string out(parts[0]);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string_view rest = parts[i];
    out += "\\frac";
    if (rest.empty()) return std::nullopt;
    if (rest.front() == '{') {
      out += rest;
      continue;
    }
    const std::string_view above = first_of(rest);
    rest.remove_prefix(above.size());
    if (rest.empty()) return text;
    const std::string_view below = first_of(rest);
    rest.remove_prefix(below.size());
    out += "{" + std::string(above) + "}";
    if (below == "{")
      out += below;
    else
      out += "{" + std::string(below) + "}";
    out += rest;
  }
  return out;
}

/// A whole number that is written as Python would print it.
bool is_plain_whole(std::string_view text) {
  if (text == "0") return true;
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.front() != '0' && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Whether int() would read it at all: with blanks around it, a sign, and underscores.
bool is_whole(std::string_view text) {
  text = python_strip(text);
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  bool was_digit = false;
  for (const char c : text) {
    if (!tmpl::is_digit(c) && !(c == '_' && was_digit)) return false;
    was_digit = c != '_';
  }
  return was_digit;
}

/// `1/2` as `\frac{1}{2}`; nothing where the authors' program stops: one side is no whole number.
std::optional<std::string> with_slash_as_fraction(const std::string& text) {
  const auto parts = parts_of(text, "/");
  if (parts.size() != 2) return text;
  if (!is_whole(parts[0]) || !is_whole(parts[1])) return std::nullopt;
  if (!is_plain_whole(parts[0]) || !is_plain_whole(parts[1])) return text;
  return "\\frac{" + std::string(parts[0]) + "}{" + std::string(parts[1]) + "}";
}

std::optional<std::string> with_braced_roots(const std::string& text) {
  const auto parts = parts_of(text, "\\sqrt");
  std::string out(parts[0]);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string_view rest = parts[i];
    if (rest.empty()) return std::nullopt;
    out += "\\sqrt";
    if (rest.front() != '{') {
      const std::string_view of = first_of(rest);
      out += "{" + std::string(of) + "}";
      rest.remove_prefix(of.size());
    }
    out += rest;
  }
  return out;
}

}  // namespace

std::optional<std::string> last_boxed(std::string_view solution) {
  if (const std::size_t at = solution.rfind("\\boxed "); at != std::string_view::npos) {
    const std::string_view rest = solution.substr(at + 7);
    return "\\boxed " + std::string(rest.substr(0, rest.find('$')));
  }
  std::size_t at = solution.rfind("\\boxed");
  if (at == std::string_view::npos) at = solution.rfind("\\fbox");
  if (at == std::string_view::npos) return std::nullopt;
  int open = 0;
  for (std::size_t i = at; i < solution.size(); ++i) {
    if (solution[i] == '{') ++open;
    if (solution[i] == '}' && --open == 0) return std::string(solution.substr(at, i + 1 - at));
  }
  return std::nullopt;
}

std::optional<std::string> unboxed(std::string_view boxed) {
  if (boxed.starts_with("\\boxed ")) return std::string(boxed.substr(7));
  if (!boxed.starts_with("\\boxed{") || !boxed.ends_with('}')) return std::nullopt;
  return std::string(boxed.substr(7, boxed.size() - 8));
}

std::optional<std::string> hendrycks_normalized(std::string_view answer) {
  using Pair = std::pair<std::string_view, std::string_view>;
  static constexpr std::array<Pair, 9> kFirst{{{"\n", ""},
                                               {"\\!", ""},
                                               {"\\\\", "\\"},
                                               {"tfrac", "frac"},
                                               {"dfrac", "frac"},
                                               {"\\left", ""},
                                               {"\\right", ""},
                                               {"^{\\circ}", ""},
                                               {"^\\circ", ""}}};
  std::string text(answer);
  for (const auto& [from, to] : kFirst) text = python_replace(text, from, to);
  text = python_replace(text, "\\$", "");
  if (const auto parts = parts_of(text, "\\text{ "); parts.size() > 2)
    return std::nullopt;
  else if (parts.size() == 2)
    text = std::string(parts[0]);  // what follows is a unit
  text = python_replace(text, "\\%", "");
  text = python_replace(text, " .", " 0.");
  text = python_replace(text, "{.", "{0.");
  if (text.empty()) return text;
  if (text.front() == '.') text.insert(0, 1, '0');
  if (const auto sides = parts_of(text, "="); sides.size() == 2 && tmpl::count_code_points(sides[0]) <= 2)
    text = std::string(sides[1]);
  auto rooted = with_braced_roots(text);
  if (!rooted) return std::nullopt;
  auto braced = with_braced_fractions(python_replace(*rooted, " ", ""));
  if (!braced) return std::nullopt;
  if (*braced == "0.5") *braced = "\\frac{1}{2}";
  return with_slash_as_fraction(*braced);
}

bool hendrycks_equal(std::string_view a, std::string_view b) {
  const auto normal_a = hendrycks_normalized(a);
  const auto normal_b = hendrycks_normalized(b);
  return normal_a && normal_b ? *normal_a == *normal_b : a == b;
}

std::string between_dollars(std::string_view text) {
  const std::size_t first = text.find('$');
  const std::size_t last = text.rfind('$');
  if (first == last) return std::string(text);
  return std::string(text.substr(first + 1, last - first - 1));
}

bool is_answer_of(std::string_view answer, std::string_view solution) {
  const auto box = last_boxed(solution);
  const std::string right = box ? unboxed(*box).value_or(*box) : std::string(solution);
  return answer == minerva_normalized(right) || hendrycks_equal(answer, right);
}

}  // namespace orch::eval
