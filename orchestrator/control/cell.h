// A cell as the daemon keeps it: small, because there may be a million. What it is (its content) lies in the store.
//
// Holds: a state changes only along the arrows of docs/states.md (may_become).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "control/ids.h"
#include "planner/basis.h"
#include "policy/policy.h"

namespace orch::control {

enum class CellState : std::uint8_t {
  kBlocked,    ///< waits for the cell whose adapter it needs
  kWaiting,    ///< can be leased
  kRunning,    ///< a chunk of it is leased
  kDone,       ///< every chunk has its result
  kFailed,     ///< given up, with a reason
  kCancelled,  ///< no sweep wants it any more
};
inline constexpr std::array kCellStates = {CellState::kBlocked, CellState::kWaiting, CellState::kRunning,
                                           CellState::kDone,    CellState::kFailed,  CellState::kCancelled};
std::string_view name_of(CellState state);
bool may_become(CellState from, CellState to);

/// Whether nothing more happens to the cell unless somebody asks for it again.
constexpr bool is_final(CellState state) { return state >= CellState::kDone; }

struct Cell {
  Digest key;
  NeedId need{};
  CellId depends = kNoCell;      ///< the train cell whose adapter it needs
  std::uint32_t model = 0;       ///< in State::names
  std::uint32_t task = 0;        ///< in State::names
  float expected = 0;            ///< seconds, of all chunks
  float bound = 0;               ///< seconds that it will hardly exceed
  Work work = kNoWork;           ///< cells of one number take the same time
  std::uint16_t generation = 1;  ///< counts how often it was asked for afresh
  std::uint16_t chunks = 1;
  CellState state = CellState::kWaiting;
  planner::Basis basis = planner::Basis::kUnknown;  ///< of expected and bound, which are as they were asked for
};

/// What became of the chunks of a cell that has several.
enum class ChunkState : std::uint8_t { kWaiting, kLeased, kDone };

/// What has gone wrong with a cell so far, and what was done about it. Only cells that failed have one.
struct Trouble {
  std::vector<std::pair<policy::Cause, policy::Remedy>> tried;
  double more_time = 1;                     ///< on expected and bound
  double smaller_batch = 1;                 ///< on the batch, for engines that have one
  std::vector<std::string> excluded_nodes;  ///< it failed there, and is to be tried elsewhere
  int crashes = 0;                          ///< workers that died while they had it: from the first on, it runs alone
  std::string reason;                       ///< of the last failure

  int attempts() const { return static_cast<int>(tried.size()); }
};

}  // namespace orch::control
