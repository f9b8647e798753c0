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

Mean mean_of(std::span<const double> scores) {
  Mean mean;
  mean.samples = scores.size();
  if (scores.empty()) {
    mean.value = std::numeric_limits<double>::quiet_NaN();
    return mean;
  }
  const auto n = static_cast<double>(scores.size());
  double sum = 0;
  for (const double score : scores) sum += score;
  mean.value = sum / n;
  if (scores.size() < 2) return mean;
  double squares = 0;
  for (const double score : scores) squares += (score - mean.value) * (score - mean.value);
  mean.standard_error = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return mean;
}

Mean pooled(std::span<const Mean> parts) {
  if (parts.size() == 1) return parts[0];
  Mean whole;
  double sum = 0, squares = 0, size = 0;
  bool has_errors = !parts.empty();
  for (const Mean& part : parts) {
    const auto n = static_cast<double>(part.samples);
    size += n;
    sum += part.value * n;
    whole.samples += part.samples;
    has_errors = has_errors && part.standard_error.has_value();
    if (part.standard_error) squares += (n - 1) * (*part.standard_error * *part.standard_error) * n;
  }
  whole.value = sum / size;
  if (has_errors) whole.standard_error = std::sqrt(squares / (size - static_cast<double>(parts.size())) / size);
  return whole;
}

}  // namespace orch::eval
