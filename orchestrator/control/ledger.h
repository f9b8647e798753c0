// What the jobs that have ended took: sums, so that a budget costs the same after a hundred thousand jobs.
//
// Holds:
//  - The sums are those of a walk over all jobs that have ended, to the last bit: they are kept in GPU-milliseconds,
//    which a double adds in any order alike unless a part of a GPU is no binary fraction: then they differ by its
//    rounding.
//  - What users took counts from one moment, the beginning of their period. When that moves, turn() walks once.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "control/ids.h"
#include "control/job.h"

namespace orch::control {

/// GPU-milliseconds that a job has had after `since`.
double had(const Job& job, Utc since, Utc now);

inline constexpr double kGpuHour = 3'600'000;  // GPU-milliseconds

struct State;

class Ledger {
 public:
  /// The job has ended, a moment ago.
  void close(const Job& job, const std::string& user);
  /// From now on users' sums count from there.
  void turn(const State& state, Utc since);
  bool counts_from(Utc since) const { return since_ == since; }

  /// GPU-milliseconds.
  double sweep(SweepId id) const;
  double user(const std::string& name) const;
  const std::map<std::string, double, std::less<>>& users() const { return users_; }

 private:
  std::map<SweepId, double> sweeps_;
  std::map<std::string, double, std::less<>> users_;
  std::optional<Utc> since_;  ///< none: users' sums were not begun
};

}  // namespace orch::control
