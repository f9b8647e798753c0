// The state, from the rows that were written.
//
// Holds: rows come table by table, in the order of the functions below; within a table in the order of their ids.
#pragma once

#include <string>

#include "control/change.h"
#include "control/state.h"

namespace orch::control {

class Restore {
 public:
  Restore(policy::Policy policy, std::string instance, Rules rules = {});

  void take(const row::PutFact& row);
  void take(row::PutNeed&& row);
  void take(row::PutSweep&& row);
  void take(const row::SetSweepState& row);
  void take(row::PutCell&& row);
  void take(const row::SetCellState& row);
  void take(const row::PutWanted& row);
  /// Only results of cells with several chunks are looked at.
  void take(const row::PutResult& row);
  /// Of a result, the oldest first: Durations::kWindow of the latest are enough.
  void measured(CellId cell, double seconds);
  void take(row::PutFailure&& row);
  void take(row::PutJob&& row);
  void take(const row::PutLease& row);
  /// Of a chunk in the order in which they ended.
  void take(const row::PutBegun& row);
  void take(row::PutNotice&& row);

  /// All rows were taken. What is derived (blocked cells, counts, queues) is worked out here.
  State finish();

 private:
  State state_;
};

}  // namespace orch::control
