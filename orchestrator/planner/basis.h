// What an estimate of a cell's duration rests on.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace orch::planner {

enum class Basis : std::uint8_t {
  kUnknown,          ///< asked for before that was kept
  kDeclared,         ///< half of the time that its matrix declares
  kAssumed,          ///< a command that declares none: the policy's command_time
  kRoofline,         ///< the speed of its GPUs
  kHistory,          ///< a history file
  kHistoryAndLimit,  ///< a history file, within the time that its matrix declares
};
inline constexpr std::array kBases = {Basis::kUnknown,  Basis::kDeclared, Basis::kAssumed,
                                      Basis::kRoofline, Basis::kHistory,  Basis::kHistoryAndLimit};
std::string_view name_of(Basis basis);

/// Whether the bound is what somebody declared: the cell is stopped there, whatever was measured since. Of what was
/// asked for before this was kept nobody knows.
constexpr bool is_declared(Basis basis) {
  return basis == Basis::kDeclared || basis == Basis::kHistoryAndLimit || basis == Basis::kUnknown;
}

}  // namespace orch::planner
