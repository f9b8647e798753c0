// What must always be true of the daemon's state, checked from outside it.
#pragma once

#include <string>

#include "control/state.h"
#include "sim/tables.h"

namespace orch::sim {

/// The first thing that does not hold, as a sentence; empty: all holds. Takes time linear in the state.
std::string broken_in(const control::State& state);

/// As broken_in, of a state all of whose changes are committed: every done cell has its results.
std::string broken_between(const control::State& state, const Tables& tables);

/// Where a state that was restored differs from the one that wrote the rows; empty: nowhere.
std::string difference(const control::State& wrote, const control::State& restored);

}  // namespace orch::sim
