// From the cells that wait to the jobs that would take them: planner/pack over all sweeps, less what jobs that stand in
// the queue or run can still do.
//
// Holds: the snapshot is small and copied on the strand; plan_jobs() is pure, and runs anywhere.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/event.h"
#include "control/state.h"
#include "planner/pack.h"

namespace orch::control {

struct Snapshot {
  struct Item {
    CellId cell = kNoCell;
    double rank = 0;  ///< score with age
    float expected = 0, bound = 0;
    SweepId sweep{};
  };
  struct Capacity {
    Job job;             ///< that is not over
    double seconds = 0;  ///< of its limit that are left
  };
  std::uint64_t version = 0;
  std::vector<Need> needs;
  std::vector<std::vector<Item>> waiting;  ///< of each need; only what may be leased
  std::vector<Capacity> live;
  planner::PackRules rules;
};
Snapshot snapshot(State& state, Now now);

event::Planned plan_jobs(const Snapshot& snapshot);

}  // namespace orch::control
