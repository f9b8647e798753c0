// A sweep: somebody asked for cells. It refers to them; others may refer to the same ones.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/cell.h"
#include "control/ids.h"

namespace orch::control {

enum class SweepState : std::uint8_t {
  kRunning,  ///< some of its cells are not final
  kHeld,     ///< its cells are leased to nobody on its behalf
  kDone,     ///< every cell is done
  kFailed,   ///< every cell is final, and not all are done
  kCancelled,
};
inline constexpr std::array kSweepStates = {SweepState::kRunning, SweepState::kHeld, SweepState::kDone,
                                            SweepState::kFailed, SweepState::kCancelled};
std::string_view name_of(SweepState state);
bool may_become(SweepState from, SweepState to);
constexpr bool is_live(SweepState state) { return state == SweepState::kRunning || state == SweepState::kHeld; }

/// A cell as one sweep sees it.
struct Wanted {
  CellId cell = kNoCell;
  float score = 0;
  std::uint16_t generation = 1;  ///< a later one is not this sweep's affair: its result is there
};

struct Sweep {
  SweepId id{};
  std::string name;
  std::string user;
  std::string request_key;  ///< of the client: the same request twice is one sweep
  std::string matrix;       ///< the file's text
  std::string rejected;     ///< JSON rows of the plan, as `plan --json` prints them
  std::int64_t rejected_cells = 0;
  SweepState state = SweepState::kRunning;
  Utc submitted{};
  Utc ended{};
  std::vector<Wanted> cells;                               ///< in the matrix's order
  std::array<std::uint32_t, kCellStates.size()> counts{};  ///< of `cells`, by state

  double work_left = 0;  ///< expected seconds of those that are not final

  std::uint32_t count(CellState of) const { return counts[static_cast<std::size_t>(of)]; }
};

}  // namespace orch::control
