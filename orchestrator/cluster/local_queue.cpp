#include "cluster/local_queue.h"

#include <algorithm>

namespace orch::cluster {
namespace {

/// When the first job that does not fit will, and what is then left beside it.
struct Promise {
  std::optional<std::int64_t> from;  ///< none: nobody knows when
  Room spare;
};

Promise promise_for(const Room& wanted, Room free, std::vector<RunningJob> running) {
  std::ranges::sort(running, {}, [](const RunningJob& job) { return job.ends.value_or(INT64_MAX); });
  for (const RunningJob& job : running) {
    if (!job.ends) break;
    free += job.room;
    if (!free.holds(wanted)) continue;
    free -= wanted;
    return {job.ends, free};
  }
  return {};
}

}  // namespace

Room& Room::operator+=(const Room& other) {
  gpus += other.gpus;
  cpus += other.cpus;
  memory += other.memory;
  return *this;
}

Room& Room::operator-=(const Room& other) {
  gpus -= other.gpus;
  cpus -= other.cpus;
  memory -= other.memory;
  return *this;
}

std::vector<std::size_t> may_start(Room machine, std::span<const RunningJob> running,
                                   std::span<const WaitingJob> waiting, std::int64_t now) {
  std::vector<RunningJob> there(running.begin(), running.end());
  Room free = machine;
  for (const RunningJob& job : there) free -= job.room;
  std::vector<std::size_t> started;
  std::optional<Promise> promise;  // to the first that cannot start
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const WaitingJob& job = waiting[i];
    if (!free.holds(job.room)) {
      if (!promise) promise = promise_for(job.room, free, there);
      continue;
    }
    const std::optional<std::int64_t> ends = job.limit ? std::optional(now + *job.limit) : std::nullopt;
    if (promise) {
      const bool is_over_by_then = promise->from && ends && *ends <= *promise->from;
      const bool fits_beside = promise->from && promise->spare.holds(job.room);
      if (!is_over_by_then && !fits_beside) continue;
      if (!is_over_by_then) promise->spare -= job.room;
    }
    free -= job.room;
    there.push_back({job.room, ends});
    started.push_back(i);
  }
  return started;
}

}  // namespace orch::cluster
