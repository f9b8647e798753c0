// Which of the waiting jobs start on this machine now.
//
// Holds: no clock within; a later job goes ahead of an earlier one only where the earlier one starts no later for it,
// should running jobs use up their time limits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace orch::cluster {

struct Room {
  int gpus = 0;
  int cpus = 0;
  std::int64_t memory = 0;  ///< bytes

  bool holds(const Room& other) const { return gpus >= other.gpus && cpus >= other.cpus && memory >= other.memory; }
  Room& operator+=(const Room& other);
  Room& operator-=(const Room& other);
};

struct RunningJob {
  Room room;
  std::optional<std::int64_t> ends;  ///< second; none: it has no time limit
};

struct WaitingJob {
  Room room;
  std::optional<std::int64_t> limit;  ///< seconds
};

/// Indices of `waiting`, which stands in the order of submission.
std::vector<std::size_t> may_start(Room machine, std::span<const RunningJob> running,
                                   std::span<const WaitingJob> waiting, std::int64_t now);

}  // namespace orch::cluster
