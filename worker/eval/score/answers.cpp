#include "eval/score/answers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/text.h"
#include "eval/score/text.h"

namespace orch::eval {
namespace {

std::string with_single_blanks(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (!blank)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

std::size_t distance(const std::u32string& a, const std::u32string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// As Python's float() reads it, less underscores; NaN is no number here.
std::optional<double> number_of(std::string_view text) {
  const bool percent = text.ends_with('%');
  while (text.ends_with('%')) text.remove_suffix(1);
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with("+") || text.empty()) return std::nullopt;
  double value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || wrong != std::errc{} || std::isnan(value)) return std::nullopt;
  return percent ? value / 100 : value;
}

/// Less the marks that end a sentence, one kind after the other.
std::string_view without_marks(std::string_view text) {
  for (const char mark : std::string_view(",.!?;:'")) {
    while (text.starts_with(mark)) text.remove_prefix(1);
    while (text.ends_with(mark)) text.remove_suffix(1);
  }
  return text;
}

}  // namespace

double anls(std::string_view answer, std::span<const std::string> references, double threshold) {
  const std::u32string given = code_points(with_single_blanks(folded(answer)));
  const std::size_t given_length = code_points(answer).size();
  double best = 0;
  for (const std::string& reference : references) {
    const std::size_t length = std::max(given_length, code_points(reference).size());
    const std::size_t edits = distance(given, code_points(with_single_blanks(folded(reference))));
    best = std::max(best, length == 0 ? 1.0 : 1.0 - static_cast<double>(edits) / static_cast<double>(length));
  }
  return best < threshold ? 0.0 : best;
}

bool relaxed_match(std::string_view answer, std::string_view reference, double tolerance) {
  const auto given = number_of(answer), wanted = number_of(reference);
  if (given && wanted && *wanted != 0) return std::fabs(*given - *wanted) / std::fabs(*wanted) <= tolerance;
  return folded(answer) == folded(reference);
}

std::optional<std::size_t> choice_of(std::string_view answer, std::span<const std::string> options) {
  const std::string text = " " + std::string(without_marks(answer)) + " ";
  const auto last = [&](const std::string& in, auto word_of) {
    std::optional<std::size_t> best;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i < options.size() && i < 26; ++i) {
      const std::size_t at = in.rfind(word_of(i));
      if (at == std::string::npos || (best && at <= best_at)) continue;
      best = i;
      best_at = at;
    }
    return best;
  };
  const auto letter = [](std::size_t i) { return std::string(1, static_cast<char>('A' + i)); };
  if (const auto found = last(text, [&](std::size_t i) { return "(" + letter(i) + ")"; })) return found;
  if (const auto found = last(text, [&](std::size_t i) { return " " + letter(i) + " "; })) return found;
  const std::string words = with_single_blanks(text);
  if (std::ranges::count(words, ' ') < 5) return std::nullopt;
  return last(folded(text), [&](std::size_t i) { return folded(options[i]); });
}

}  // namespace orch::eval
