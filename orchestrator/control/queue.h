// The waiting cells of each need, in each sweep, best first.
//
// Holds:
//  - Every cell that waits is in the heap of its need for each live sweep that wants it.
//  - A heap may hold cells that wait no more: who takes from it asks the caller which still do (lazy deletion).
//  - Equal scores come in the order in which the sweep named them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "control/ids.h"

namespace orch::control {

class Queue {
 public:
  struct Entry {
    float score = 0;
    std::uint32_t order = 0;  ///< place in the sweep
    CellId cell = kNoCell;
  };
  using Head = std::pair<NeedId, SweepId>;
  /// Whether a cell still waits, and for a job of that need: a remedy may have given it another.
  using Waits = std::function<bool(NeedId, CellId)>;

  void push(NeedId need, SweepId sweep, const Entry& entry);

  /// The best that waits, left where it is.
  std::optional<Entry> best(const Head& head, const Waits& waits);
  /// Takes the best away; `best` said that there is one.
  void pop(const Head& head);

  /// All heaps that may hold something, in the order of needs.
  std::vector<Head> heads() const;
  std::vector<Head> heads_of(NeedId need) const;
  void forget(SweepId sweep);

 private:
  std::map<Head, std::vector<Entry>> heaps_;
};

}  // namespace orch::control
