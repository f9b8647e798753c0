// Which checkpoints of a training are kept: the newest to go on from, and the best to choose the result from.
//
// Holds: what goes is a function of what is there. Asked again it names nothing that it would have kept before, so a
// run that is killed between writing and removing loses nothing by it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace orch::train {

struct Kept {
  std::int64_t step = 0;       ///< no two have the same
  std::optional<double> loss;  ///< held out; of one that was not evaluated, none
  bool is_resumable = false;   ///< it is whole: a run can go on from it
};

struct KeepRules {
  std::size_t newest = 2;  ///< of those that a run can go on from: one may be broken by what ends the run
  std::size_t best = 8;    ///< seed 003
};

/// The steps of those to remove, the oldest first. Of equal losses the earlier step's is better: it has been trained
/// less. A loss that is no number is none.
std::vector<std::int64_t> to_remove(std::span<const Kept> there, const KeepRules& rules);

}  // namespace orch::train
