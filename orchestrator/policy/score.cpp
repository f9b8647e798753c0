#include "policy/score.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"

namespace orch::policy {
namespace {

constexpr double kSlack = 1e-12;

/// In [0, 1] whatever comes in; NaN is 0, as nothing good is known of it.
double clamped(double value) { return value > 0 ? std::min(value, 1.0) : 0.0; }

double value_or(const std::map<std::string, double, std::less<>>& map, std::string_view key, double other) {
  const auto at = map.find(key);
  return at == map.end() ? other : at->second;
}

double prior_of(const Policy& policy, std::string_view family, std::string_view type, double rating) {
  if (policy.success_priors.empty()) return rating;
  std::string key;
  key.reserve(family.size() + 1 + type.size());
  key.append(family).append("/").append(type);
  if (const auto at = policy.success_priors.find(key); at != policy.success_priors.end()) return at->second;
  return value_or(policy.success_priors, family, rating);
}

/// The prior counts as `strength` attempts beside those that were measured.
double success_rate(double prior, double strength, const Evidence& evidence) {
  const double succeeded = static_cast<double>(std::max<std::int64_t>(evidence.succeeded, 0));
  const double failed = static_cast<double>(std::max<std::int64_t>(evidence.failed, 0));
  const double weight = strength > 0 && std::isfinite(strength) ? strength : 0;
  const double attempts = weight + succeeded + failed;
  return attempts > 0 ? (prior * weight + succeeded) / attempts : prior;
}

/// Whether jobs of this size fill nodes without a rest.
bool fills_nodes(int gpus, int node_gpus) {
  if (gpus < 1 || node_gpus < 1) return false;
  return gpus <= node_gpus ? node_gpus % gpus == 0 : gpus % node_gpus == 0;
}

bool among(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

/// `a, b and c`
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 12;
  std::string text;
  const std::size_t shown_names = std::min(names.size(), kShown);
  for (std::size_t i = 0; i < shown_names; ++i) {
    if (i) text += i + 1 == names.size() ? " and " : ", ";
    text += shown(names[i]);
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

std::array<double, kTerms> term_inputs(const Policy& policy, const ScoreInput& input) {
  const double rating = clamped(value_or(policy.families, input.family, policy.other_family));
  const double prior = clamped(prior_of(policy, input.family, input.task_type, rating));
  const double horizon = policy.time_horizon;
  const double seconds = std::max(input.seconds, 0.0);
  const double least_use = policy.planning.memory_low;
  const int bonus =
      (input.native_dtype ? 1 : 0) + (input.top_gpu ? 1 : 0) + (fills_nodes(input.gpus, input.node_gpus) ? 1 : 0);
  return {
      clamped(value_or(policy.task_types, input.task_type, policy.other_task_type)),
      rating,
      clamped(success_rate(prior, policy.prior_strength, input.evidence)),
      // An estimate that is not a number is no reason to go first.
      horizon > 0 && !std::isnan(input.seconds) ? clamped(1 - seconds / horizon) : 0,
      least_use > 0 ? clamped(input.utilisation / least_use) : 0,
      bonus / 3.0,
  };
}

Score score(const Policy& policy, const ScoreInput& input) {
  Score result;
  const auto inputs = term_inputs(policy, input);
  for (std::size_t term = 0; term < kTerms; ++term) {
    result.terms[term] = policy.weights[term] * inputs[term];
    result.total += result.terms[term];
  }
  return result;
}

double greatest_total(const Policy& policy) {
  const auto best = [](const auto& rated, double other, const std::vector<std::string>& accepted) {
    double most = accepted.empty() ? other : 0;
    for (const auto& [name, value] : rated)
      if (among(accepted, name)) most = std::max(most, value);
    return most;
  };
  const std::array<double, kTerms> inputs = {
      clamped(best(policy.task_types, policy.other_task_type, policy.acceptance.task_types)),
      clamped(best(policy.families, policy.other_family, policy.acceptance.families)),
      1,
      1,
      1,
      1};
  double total = 0;
  for (std::size_t term = 0; term < kTerms; ++term) total += policy.weights[term] * inputs[term];
  return total;
}

double rank(const Policy& policy, double score, double waited_seconds) {
  const double days = waited_seconds > 0 ? waited_seconds / 86400 : 0;
  return score + std::min(policy.ageing_most, policy.ageing_per_day * days);
}

std::optional<Refusal> refuse(const Policy& policy, const ScoreInput& input, double total) {
  const Acceptance& accepted = policy.acceptance;
  if (!among(accepted.task_types, input.task_type))
    return Refusal{"acceptance.task_type",
                   "task type " + quote(input.task_type) + "; accepted are " + listed(accepted.task_types)};
  if (!among(accepted.families, input.family))
    return Refusal{"acceptance.family",
                   "model family " + quote(input.family) + "; accepted are " + listed(accepted.families)};
  if (accepted.max_duration && !(input.seconds < *accepted.max_duration))
    return Refusal{"acceptance.duration", "would take " + format_duration(input.seconds) + "; accepted is less than " +
                                              format_duration(*accepted.max_duration)};
  if (accepted.min_score && !(total > *accepted.min_score + kSlack))
    return Refusal{"acceptance.score", "scores " + format_fixed(total, 3) + "; accepted is more than " +
                                           format_fixed(*accepted.min_score, 3)};
  return std::nullopt;
}

}  // namespace orch::policy
