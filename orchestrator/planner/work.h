// How long a cell takes where it was placed: from the roofline until there is history, then from that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "planner/basis.h"
#include "planner/sizing.h"
#include "policy/score.h"

namespace orch::planner {

/// Durations of one sample (or one training step) that were measured, by model, task and profile.
class History {
 public:
  struct Entry {
    std::vector<double> seconds_per_unit;  ///< of cells that ended well, oldest first
  };
  void add(const std::string& model, const std::string& task, const std::string& profile, double seconds_per_unit);
  void add_outcomes(const std::string& family, const std::string& type, std::int64_t succeeded, std::int64_t failed);
  const Entry* find(const std::string& model, const std::string& task, const std::string& profile) const;
  /// The q-quantile of what was measured; nothing with fewer than 3 measurements.
  std::optional<double> quantile(const std::string& model, const std::string& task, const std::string& profile,
                                 double q) const;
  policy::Evidence evidence(const std::string& family, const std::string& type) const;

 private:
  std::map<std::tuple<std::string, std::string, std::string>, Entry> entries_;
  std::map<std::pair<std::string, std::string>, policy::Evidence> outcomes_;
};

/// Samples of an evaluation (after `limit` and `repeats`), steps of a training run or a benchmark; 1 for a command.
double units_of_work(const matrix::Cell& cell, const matrix::Settings& settings, const Site& site);

struct Duration {
  double expected = 0;  ///< seconds, without loading the model
  double bound = 0;     ///< seconds that it will hardly exceed: what a time limit is made of
  std::string basis;    ///< `roofline`, `12 measurements`, `declared`
  Basis from = Basis::kUnknown;
};
Duration duration_of(const matrix::Cell& cell, const matrix::Settings& settings, const Need& need,
                     const Placement& placement, const Site& site, const History& history);

}  // namespace orch::planner
