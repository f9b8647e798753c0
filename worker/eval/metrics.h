// Scores of single samples, as lm-evaluation-harness computes them. Their means are base/tally.h's.
#pragma once

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

}  // namespace orch::eval
