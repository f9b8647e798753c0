// What the store would hold: the rows that were committed, in memory.
//
// Holds: restore() of these tables gives what the SQLite store would give at a start.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/change.h"
#include "control/restore.h"

namespace orch::sim {

struct Tables {
  using ResultKey = std::tuple<control::CellId, std::uint16_t, std::uint32_t>;

  std::map<std::string, std::string> facts;
  std::map<control::NeedId, control::row::PutNeed> needs;
  std::vector<control::row::PutSweep> sweeps;
  std::map<control::SweepId, control::row::SetSweepState> sweep_states;
  std::vector<control::row::PutCell> cells;
  std::map<control::CellId, control::row::SetCellState> cell_states;
  std::vector<control::row::PutWanted> wanted;
  std::map<ResultKey, control::row::PutResult> results;
  std::vector<std::pair<control::CellId, double>> seconds;  ///< of results, as they came
  std::vector<control::row::PutFailure> failures;
  std::map<control::JobId, control::row::PutJob> jobs;
  std::map<control::Chunk, control::row::PutLease> leases;
  std::vector<control::row::PutBegun> begun;
  std::map<control::NoticeId, control::Notice> notices;
  std::uint64_t notes = 0;
  std::string broken;  ///< the first row that could not be written as it stands; empty: none

  void put(const control::Change& change);
  control::State restore(const policy::Policy& policy, const std::string& instance, const control::Rules& rules) const;
};

}  // namespace orch::sim
