// Which number stands in the database for which value: its place in the lists below. They are only ever added to, at
// the end: what was written keeps its meaning, whatever order the program gives its values.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "control/cell.h"
#include "control/job.h"
#include "control/notice.h"
#include "control/sweep.h"
#include "policy/policy.h"
#include "store/database.h"

namespace orch::store {

template <class Value>
struct OnDisk;

template <>
struct OnDisk<control::CellState> {
  using enum control::CellState;
  static constexpr std::array kValues = {kBlocked, kWaiting, kRunning, kDone, kFailed, kCancelled};
};
template <>
struct OnDisk<control::SweepState> {
  using enum control::SweepState;
  static constexpr std::array kValues = {kRunning, kHeld, kDone, kFailed, kCancelled};
};
template <>
struct OnDisk<control::JobState> {
  using enum control::JobState;
  static constexpr std::array kValues = {kSubmitting, kQueued, kRunning, kDraining, kMissing, kEnding, kEnded};
};
template <>
struct OnDisk<control::End> {
  using enum control::End;
  static constexpr std::array kValues = {kDone,         kDrained,      kSuperseded, kCancelled, kTimeout,  kPreempted,
                                         kNodeFailure,  kGpuMemory,    kHostMemory, kNan,       kLostPeer, kBadInput,
                                         kLaunchFailed, kNotSubmitted, kAbsent,     kUnknown};
};
template <>
struct OnDisk<control::NoticeKind> {
  using enum control::NoticeKind;
  static constexpr std::array kValues = {kSweepEnded, kAlert, kBudget};
};
template <>
struct OnDisk<policy::Cause> {
  using enum policy::Cause;
  static constexpr std::array kValues = {kGpuMemory, kHostMemory, kTimeout,    kNodeFailure, kPreempted,
                                         kNan,       kLostPeer,   kLoadFailed, kBadInput,    kUnknown};
};
template <>
struct OnDisk<policy::Remedy> {
  using enum policy::Remedy;
  static constexpr std::array kValues = {kRetry,     kSmallerBatch, kMoreGpus,   kLessTensorMorePipeline,
                                         kInt8,      kMoreTime,     kMoreMemory, kOtherNode,
                                         kLowerRate, kOtherEngine,  kGiveUp};
};

template <>
struct OnDisk<planner::Basis> {
  using enum planner::Basis;
  static constexpr std::array kValues = {kUnknown, kDeclared, kAssumed, kRoofline, kHistory, kHistoryAndLimit};
};

template <class Value>
std::int64_t number_of(Value value) {
  const auto& all = OnDisk<Value>::kValues;
  const auto at = std::find(all.begin(), all.end(), value);
  if (at == all.end()) throw Failure("the database has no number for '" + std::string(name_of(value)) + "'");
  return at - all.begin();
}

/// What stands in the row's next column.
template <class Value>
Value value_of(Statement& row) {
  const auto& all = OnDisk<Value>::kValues;
  const std::int64_t number = row.integer();
  if (number < 0 || number >= static_cast<std::int64_t>(all.size()))
    row.refuse("the number " + std::to_string(number) + ", which stands for nothing");
  return all[static_cast<std::size_t>(number)];
}

}  // namespace orch::store
