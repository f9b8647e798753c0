// When jobs would start on partitions, and when the last would end: list scheduling in the order of priority, with
// backfilling.
//
// Holds:
//  - No node ever gives more GPUs than it has; a job of several nodes, or of an exclusive partition, takes whole free
//  nodes.
//  - A job starts after all that it waits for have ended, and never past a cap on what runs at once.
//  - The first job that finds no room has a reservation for the earliest time at which it will: a later job may pass it
//    only if it ends by then. So nothing starves.
// The same requests give the same timetable.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace orch::planner {

/// A partition, as far as room goes.
struct Pool {
  int nodes = 0;
  int gpus_per_node = 0;
  bool exclusive = false;  ///< a job takes whole nodes, used or not
  bool of_cpus = false;    ///< its GPUs stand for CPUs, which no cap on GPUs counts
};

/// What may run at once.
struct Caps {
  std::optional<int> jobs;
  std::optional<int> gpus;
};

struct Request {
  std::uint32_t pool = 0;
  int nodes = 1;
  int gpus = 1;  ///< over all nodes
  double seconds = 0;
  std::vector<std::uint32_t> after;  ///< requests (indices) that must have ended
  bool held = false;                 ///< does not run; nor does what waits for it
};

inline constexpr double kNever = -1;

struct Timetable {
  std::vector<double> start;  ///< seconds of each request; kNever: held, waits for one that is, or fits nowhere
  double makespan = 0;        ///< seconds until the last that runs has ended
};

/// `requests` stand in the order of their priority.
Timetable schedule(std::span<const Request> requests, std::span<const Pool> pools, const Caps& caps);

/// Jobs that are alike, for the bound below.
struct Batch {
  std::uint32_t pool = 0;
  int nodes = 1;
  int gpus = 1;
  double seconds = 0;
  std::int64_t count = 0;
};

/// A makespan that no schedule of the batches beats: the work divided by the GPUs, jobs and GPUs at once that there
/// are, and the longest job. Takes time linear in the batches, whatever they count.
double makespan_at_least(std::span<const Batch> batches, std::span<const Pool> pools, const Caps& caps);

/// GPUs that a job keeps from others: its own, or all of its nodes' on an exclusive partition.
int occupied_gpus(const Pool& pool, int nodes, int gpus);

}  // namespace orch::planner
