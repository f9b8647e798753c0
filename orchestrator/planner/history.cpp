// What earlier cells took and how they ended.
//
// Holds:
//  - Only finite times of at least 0 are kept, and of each key the last kMost, so that it neither grows without bound
//  nor
//    remembers an older program for ever.
#include <algorithm>
#include <cmath>

#include "planner/work.h"

namespace orch::planner {
namespace {

constexpr std::size_t kMost = 1000;
constexpr std::size_t kFewest = 3;  // below this a quantile says nothing

}  // namespace

void History::add(const std::string& model, const std::string& task, const std::string& profile,
                  double seconds_per_unit) {
  if (!std::isfinite(seconds_per_unit) || seconds_per_unit < 0) return;
  Entry& entry = entries_[{model, task, profile}];
  if (entry.seconds_per_unit.size() == kMost) entry.seconds_per_unit.erase(entry.seconds_per_unit.begin());
  entry.seconds_per_unit.push_back(seconds_per_unit);
}

void History::add_outcomes(const std::string& family, const std::string& type, std::int64_t succeeded,
                           std::int64_t failed) {
  // What a file says may be any number: counts stop at a bound whose sums cannot overflow.
  constexpr std::int64_t kMostOutcomes = 1'000'000'000'000;
  policy::Evidence& evidence = outcomes_[{family, type}];
  const auto add = [&](std::int64_t& count, std::int64_t more) {
    count = std::min(kMostOutcomes, count + std::clamp<std::int64_t>(more, 0, kMostOutcomes));
  };
  add(evidence.succeeded, succeeded);
  add(evidence.failed, failed);
}

const History::Entry* History::find(const std::string& model, const std::string& task,
                                    const std::string& profile) const {
  const auto at = entries_.find({model, task, profile});
  return at == entries_.end() ? nullptr : &at->second;
}

std::optional<double> History::quantile(const std::string& model, const std::string& task, const std::string& profile,
                                        double q) const {
  const Entry* entry = find(model, task, profile);
  if (!entry || entry->seconds_per_unit.size() < kFewest || std::isnan(q)) return std::nullopt;
  std::vector<double> sorted = entry->seconds_per_unit;
  std::sort(sorted.begin(), sorted.end());
  // Nearest rank, never between two measurements: of few, the 0.95-quantile is the longest one.
  const double rank = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

policy::Evidence History::evidence(const std::string& family, const std::string& type) const {
  const auto at = outcomes_.find({family, type});
  return at == outcomes_.end() ? policy::Evidence{} : at->second;
}

}  // namespace orch::planner
