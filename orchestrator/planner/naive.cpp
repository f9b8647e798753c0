// One job for each cell, to compare a plan with.
#include "planner/draft.h"

#include <algorithm>

namespace orch::planner {
namespace {

using matrix::kNone;

constexpr double kSecondsPerHour = 3600;

double naive_seconds(const Draft& draft, const Combination& combination) {
  return draft.plan.sizings[combination.need].chosen.load_seconds + static_cast<double>(combination.expected);
}

}  // namespace

/// One job for each cell. Its makespan is that of a timetable, or for very many cells a bound that none beats; stages
/// that wait for others only count in the real plan. Both make the naive way look better, never worse.
void count_naive(Draft& draft) {
  Totals& naive = draft.plan.naive;
  naive.jobs = draft.plan.cells;
  std::vector<Batch> batches;
  for (const Combination& combination : draft.combinations) {
    if (combination.cells == 0) continue;
    const Placement& place = draft.plan.sizings[combination.need].chosen;
    const double seconds = naive_seconds(draft, combination);
    if (draft.plan.needs[combination.need].model != kNone) naive.model_loads += combination.cells;
    naive.gpu_hours += seconds * combination.cells *
                       occupied_gpus(draft.pools[place.partition], place.nodes, place.gpus) / kSecondsPerHour;
    const Request one = request_of(draft, place, place.gpus, place.cpus, place.host_memory, seconds);
    batches.push_back({one.pool, one.nodes, one.gpus, seconds, combination.cells});
  }
  if (draft.plan.cells <= kMostNaiveJobs) {
    std::vector<std::uint32_t> position(draft.expansion.cells.size(), kNone);
    for (std::uint32_t i = 0; i < draft.ranked.size(); ++i) position[draft.ranked[i]] = i;
    std::vector<Request> requests;
    for (std::uint32_t i : draft.ranked) {
      const Combination& combination = draft.combinations[draft.combination_of[i]];
      const Placement& place = draft.plan.sizings[combination.need].chosen;
      Request request =
          request_of(draft, place, place.gpus, place.cpus, place.host_memory, naive_seconds(draft, combination));
      const std::uint32_t depends = draft.expansion.cells[i].depends;
      if (depends < draft.expansion.cells.size() && position[depends] != kNone)
        request.after.push_back(position[depends]);
      requests.push_back(std::move(request));
    }
    naive.makespan = schedule(requests, draft.pools, draft.caps).makespan;
    return;
  }
  naive.makespan = makespan_at_least(batches, draft.pools, draft.caps);
  for (std::uint32_t i : draft.ranked) {
    const std::uint32_t depends = draft.expansion.cells[i].depends;
    if (depends >= draft.expansion.cells.size() || draft.plan.job_of[depends] == kNone) continue;
    naive.makespan =
        std::max(naive.makespan, naive_seconds(draft, draft.combinations[draft.combination_of[i]]) +
                                     naive_seconds(draft, draft.combinations[draft.combination_of[depends]]));
  }
}

}  // namespace orch::planner
