#include "train/stability.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/text.h"

namespace orch::train {
namespace {

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double deviation_of(const std::vector<double>& values, double mean) {
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(std::max<std::size_t>(values.size() - 1, 1)));
}

/// Of an even number the upper of the two in the middle.
double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void remember(std::vector<double>& window, double value, std::size_t most) {
  window.push_back(value);
  if (window.size() > most) window.erase(window.begin(), window.end() - static_cast<std::ptrdiff_t>(most));
}

/// What is far above the last steps, as the middle of a sentence; or nothing.
std::string spike(const StabilityState& state, const StepNumbers& numbers, const StabilityRules& rules) {
  if (state.losses.size() < std::max<std::size_t>(rules.enough, 2)) return {};
  const std::string steps = "the last " + std::to_string(state.losses.size()) + " steps";
  const double mean = mean_of(state.losses), seen = deviation_of(state.losses, mean);
  const double deviation = std::max({seen, rules.least_part * std::abs(mean), rules.least_deviation});
  if (rules.deviations > 0 && numbers.loss > mean + rules.deviations * deviation)
    return "the loss is " + shown(numbers.loss) + ", where " + steps + " had " + shown(mean) + " ± " + shown(seen);
  const double median = median_of(state.norms);
  if (rules.norm_times > 0 && median > 0 && numbers.norm > std::max(rules.norm_times * median, rules.least_norm))
    return "the gradient's norm is " + shown(numbers.norm) + ", where " + steps + " had " + shown(median) +
           " in the middle";
  return {};
}

Verdict skip_or_stop(const StabilityState& state, Failure failure, const std::string& what,
                     const StabilityRules& rules) {
  Verdict verdict;
  verdict.state = state;
  const int skips = ++verdict.state.skips;
  if (skips > rules.most_skips) {
    verdict.deed = Deed::kStop;
    verdict.failure = failure;
    verdict.reason = what + "; " + std::to_string(rules.most_skips) + " steps before it were skipped, and no more are";
  } else {
    verdict.deed = Deed::kSkip;
    verdict.reason = what + "; the step is skipped (" + std::to_string(skips) + " of at most " +
                     std::to_string(rules.most_skips) + " in a row)";
  }
  return verdict;
}

}  // namespace

std::string_view name_of(Failure failure) {
  switch (failure) {
    case Failure::kNan:
      return "nan";
    case Failure::kDiverged:
      return "diverged";
    case Failure::kNone:
      break;
  }
  return "";
}

Verdict judge(const StabilityState& state, const StepNumbers& numbers, const StabilityRules& rules) {
  const std::string at = "step " + std::to_string(numbers.step) + ": ";
  if (!std::isfinite(numbers.loss) || !std::isfinite(numbers.norm)) {
    const bool of_loss = !std::isfinite(numbers.loss);
    return skip_or_stop(
        state, Failure::kNan,
        at + (of_loss ? "the loss is " : "the gradient's norm is ") + shown(of_loss ? numbers.loss : numbers.norm),
        rules);
  }
  if (const std::string what = spike(state, numbers, rules); !what.empty()) {
    if (numbers.step == state.spiked_at)
      return skip_or_stop(state, Failure::kDiverged, at + what + ", again after the run went back", rules);
    Verdict verdict;
    verdict.state = state;
    if (state.rollbacks >= rules.most_rollbacks) {
      verdict.deed = Deed::kStop;
      verdict.failure = Failure::kDiverged;
      verdict.reason = at + what + "; the run went back " + counted(state.rollbacks, "time") + ", and does no more";
      return verdict;
    }
    verdict.deed = Deed::kRollBack;
    ++verdict.state.rollbacks;
    verdict.state.spiked_at = numbers.step;
    verdict.state.rate_factor *= rules.rate_after;
    verdict.reason = at + what + "; back to the last good state, from there with " + shown(rules.rate_after) +
                     " of the rate (" + std::to_string(verdict.state.rollbacks) + " of at most " +
                     std::to_string(rules.most_rollbacks) + " times)";
    return verdict;
  }
  Verdict verdict;
  verdict.state = state;
  verdict.state.skips = 0;
  remember(verdict.state.losses, numbers.loss, rules.window);
  remember(verdict.state.norms, numbers.norm, rules.window);
  return verdict;
}

StabilityState after_rollback(const StabilityState& good, const StabilityState& verdict) {
  StabilityState state = verdict;
  state.losses = good.losses;
  state.norms = good.norms;
  state.skips = good.skips;
  return state;
}

nlohmann::json json_of(const StabilityState& state) {
  return {{"losses", state.losses},       {"norms", state.norms},         {"skips", state.skips},
          {"rollbacks", state.rollbacks}, {"spiked_at", state.spiked_at}, {"rate_factor", state.rate_factor}};
}

Result<StabilityState> read_stability_state(const nlohmann::json& json) {
  try {
    StabilityState state{json.at("losses"),    json.at("norms"),     json.at("skips"),
                         json.at("rollbacks"), json.at("spiked_at"), json.at("rate_factor")};
    if (state.losses.size() != state.norms.size())
      return Error{"the stability's state: there are not as many norms as losses"};
    return state;
  } catch (const nlohmann::json::exception& exception) {
    return Error{std::string("the stability's state: ") + exception.what()};
  }
}

}  // namespace orch::train
