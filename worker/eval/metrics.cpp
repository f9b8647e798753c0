#include "eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/template/code_points.h"

namespace orch::eval {
namespace {

/// As numpy.argmax(): the first of the largest, and a NaN is larger than all.
std::size_t largest(std::span<const double> values) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

bool is_ascii_punctuation(char c) {
  return std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").find(c) != std::string_view::npos;
}

std::string comparable(std::string text, const ExactMatch& options) {
  for (const Pattern& pattern : options.ignore) text = pattern.replaced(text);
  if (options.ignore_case) text = tmpl::lower_text(text);
  if (options.ignore_punctuation) std::erase_if(text, is_ascii_punctuation);
  if (options.ignore_numbers) std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text;
}

}  // namespace

ChoiceScores choice_scores(std::span<const Likelihood> answers, std::span<const std::string> choices,
                           std::span<const std::size_t> right) {
  std::vector<double> plain, by_characters, by_bytes;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    plain.push_back(answers[i].logprob);
    by_characters.push_back(answers[i].logprob / static_cast<double>(tmpl::count_code_points(choices[i])));
    by_bytes.push_back(answers[i].logprob / static_cast<double>(choices[i].size()));
  }
  const auto score = [&](std::span<const double> values) {
    return std::ranges::find(right, largest(values)) != right.end() ? 1.0 : 0.0;
  };
  return {score(plain), score(by_characters), score(by_bytes)};
}

double true_mass(std::span<const Likelihood> answers, std::span<const int> labels) {
  double most = -std::numeric_limits<double>::infinity();
  for (const Likelihood& answer : answers) most = std::max(most, answer.logprob);
  double right = 0, all = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const double mass = std::exp(answers[i].logprob - most);
    all += mass;
    if (labels[i] == 1) right += mass;
  }
  return right / all;
}

bool exact_match(const std::string& answer, const std::string& target, const ExactMatch& options) {
  return comparable(answer, options) == comparable(target, options);
}

}  // namespace orch::eval
