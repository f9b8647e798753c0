// How long a cell will take: what was measured of the same work; else what its plan said, corrected by how cells of
// like needs fared; else what its plan said.
//
// Holds:
//  - A declared time stays the bound: the cell is stopped there.
//  - A bound that was learned never makes a cell fail that the asked one would have let through: once it ran out of
//    time, it has the longer of the two, and more of that.
//  - No learned bound is longer than a job for the cell can be.
#pragma once

#include <cstdint>
#include <string>

#include "control/state.h"

namespace orch::control {

/// Seconds of a whole cell; of a training that was begun before, of what is left of it.
struct Estimate {
  enum class From : std::uint8_t { kAsked, kLikeNeeds, kSameWork };
  double expected = 0;
  double bound = 0;  ///< it is stopped there
  From from = From::kAsked;
  std::size_t runs = 0;        ///< that were measured
  bool learned_bound = false;  ///< or the one that was asked for
};
Estimate estimate(const State& state, CellId cell);

/// Seconds that a job must have left, once it has loaded what the cell needs, for a chunk of it to be begun: its bound.
/// A training goes on in another job from where this one leaves it, so that it needs no more than to get somewhere.
double least_time(const State& state, CellId cell);

/// A chunk of the cell took so many seconds, and its result was accepted. Returns whether its work became known.
bool learn(State& state, const Cell& cell, double seconds);

/// `the median of 9 runs of the same work`, `half of the time declared`, …
std::string basis_of(const State& state, CellId cell, const Estimate& estimate);

/// Seconds that the cells of the sweep may still take that are not final, one after another. Of a sweep of many cells
/// only some are looked at, spread evenly.
double work_left(const State& state, const Sweep& sweep);

}  // namespace orch::control
