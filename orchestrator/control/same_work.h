// Which cells are the same work again: whatever was measured of the one tells how long the other takes.
//
// Holds: two cells have one number if all is equal that decides how long they take: kind, engine, program, model, task,
// settings, whether there is an adapter, and the GPUs that they run on. A seed decides nothing, nor does what a cell
// may take at most; another program, another `limit`, other GPUs do.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "control/ids.h"
#include "planner/plan.h"

namespace orch::control {

class SameWork {
 public:
  SameWork(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site);

  /// Of a cell that the plan has accepted; never kNoWork.
  Work of(std::uint32_t cell);

 private:
  Work number(const matrix::Cell& cell, std::uint32_t need) const;

  const planner::Plan& plan_;
  const matrix::Expansion& expansion_;
  const planner::Site& site_;
  std::vector<std::uint32_t> alike_;  ///< of each set of settings, the first that is alike
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, bool, std::uint32_t>, Work> known_;
};

/// The first 63 bits; 1 where they are all 0.
Work work_of(const Digest& digest);

}  // namespace orch::control
