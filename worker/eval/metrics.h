// Scores of single samples, and their means with standard errors, as lm-evaluation-harness computes them.
//
// Holds:
//  - Sums go over the samples in their order, so that the same scores give the same mean, bit for bit.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "eval/documents.h"
#include "eval/request.h"
#include "eval/task.h"

namespace orch::eval {

/// Scores of the choices of one question, of which those in `right` are right. `length` of acc_norm counts characters.
struct ChoiceScores {
  double acc = 0;
  double acc_norm = 0;
  double acc_bytes = 0;
};
ChoiceScores choice_scores(std::span<const Likelihood> answers, std::span<const std::string> choices,
                           std::span<const std::size_t> right);

/// The share of the choices' likelihood that the true ones have (`labels` of 1).
double true_mass(std::span<const Likelihood> answers, std::span<const int> labels);

bool exact_match(const std::string& answer, const std::string& target, const ExactMatch& options);

struct Mean {
  double value = 0;
  std::optional<double> standard_error;  ///< nothing of fewer than two samples
  std::size_t samples = 0;
};
/// The error is the sample's standard deviation over the root of its size.
Mean mean_of(std::span<const double> scores);
/// The mean of parts weighted by their sizes, with the pooled error.
Mean pooled(std::span<const Mean> parts);

}  // namespace orch::eval
