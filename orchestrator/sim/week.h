// A simulated week: people submit sweeps, workers run them, and everything that can go wrong does.
//
// Holds: run_week(seed) is a function of its arguments. What it finds is replayed by the same seed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "policy/policy.h"
#include "sim/clock.h"

namespace orch::sim {

struct WeekOptions {
  Time length = 7 * kDay;
  int sweeps = 12;
  int most_cells = 60;  ///< of a sweep
  bool faults = true;
  bool check_every_event = true;
};

struct WeekReport {
  std::string broken;  ///< what did not hold, when; empty: everything held
  std::uint64_t events = 0, crashes = 0, submissions = 0, cells = 0, done = 0, failed = 0, looks = 0;
  std::map<std::string, int> reasons;  ///< of the cells that failed
};

WeekReport run_week(std::uint64_t seed, const policy::Policy& policy, const WeekOptions& options);

}  // namespace orch::sim
