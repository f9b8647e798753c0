#include "planner/plan.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "base/units.h"
#include "planner/draft.h"
#include "planner/hosts.h"
#include "policy/limits.h"

namespace orch::planner {
namespace {

using matrix::kNone;

constexpr std::size_t kMostChoices = 50;  // notes of expansion that a plan repeats

// What is known of the cluster before any cell is looked at.
void prepare(Draft& draft) {
  const policy::Policy& policy = draft.site.policy;
  const policy::Planning& planning = policy.planning;
  draft.rules = {planning.backfill, planning.time_margin, planning.time_least, policy.drain_signal};
  draft.rules.piece_least = planning.piece_least;
  draft.rules.load_worth = planning.load_worth;
  draft.rules.idle_load_worth = planning.idle_load_worth;
  draft.rules.idle_worth = planning.idle_worth;
  draft.rules.small_gpus = planning.small_gpus;
  double best = 0;
  for (const Partition& partition : draft.site.cluster.partitions) {
    draft.pools.push_back({partition.nodes, partition.gpus_per_node, partition.exclusive});
    const Gpu* gpu = draft.site.catalog.gpus.find(partition.gpu);
    draft.flops.push_back(gpu ? gpu->flops_for(DType::kBf16) : 0);
    best = std::max(best, draft.flops.back());
  }
  for (const Partition& partition : draft.site.cluster.partitions)
    draft.pools.push_back({partition.nodes, std::max(1, host_units(partition)), false, true});
  draft.best_flops = best;
  const auto least = [](std::optional<int> a, std::optional<int> b) {
    if (a && b) return std::optional<int>(std::min(*a, *b));
    return a ? a : b;
  };
  draft.caps.jobs = least(policy.per_user.max_jobs, policy.per_sweep.max_jobs);
  draft.caps.gpus = least(policy.per_user.max_gpus, policy.per_sweep.max_gpus);
  draft.rules.most_gpus = draft.caps.gpus.value_or(0);
}

/// What expansion chose for the user stands before the planner's own notes.
void note_choices(Draft& draft) {
  const std::vector<std::string>& choices = draft.expansion.notes;
  const std::size_t shown = std::min(choices.size(), kMostChoices);
  draft.plan.notes.assign(choices.begin(), choices.begin() + static_cast<std::ptrdiff_t>(shown));
  if (shown < choices.size())
    draft.plan.notes.push_back("… and " + grouped(static_cast<long long>(choices.size() - shown)) + " more");
}

/// A command without a time may be stopped by a limit that nobody chose.
void note_assumed(Draft& draft) {
  std::map<std::uint32_t, std::int64_t> of_stage;
  for (const Combination& combination : draft.combinations)
    if (combination.from == Basis::kAssumed && combination.cells > 0)
      of_stage[draft.expansion.cells[combination.first].stage] += combination.cells;
  for (const auto& [stage, cells] : of_stage) {
    const bool named = stage < draft.expansion.stages.size() && draft.expansion.stages.size() > 1;
    draft.plan.notes.push_back(
        (named ? "stage " + shown(draft.expansion.stages[stage].name) + ": " : std::string()) +
        counted(cells, "command cell") + (cells == 1 ? " gives" : " give") +
        " no `time`: " + format_duration(draft.site.policy.planning.command_time) +
        " each is assumed; what takes longer is stopped at its job's limit, so say `time: 6h` or "
        "as long as it may take");
  }
}

/// Finds the jobs that wait: beyond a budget, larger than what may run at once, or behind a job that waits.
void hold(Draft& draft) {
  std::vector<std::optional<std::string>> why(draft.plan.jobs.size());
  for (const policy::Limits* limits : {&draft.site.policy.per_sweep, &draft.site.policy.per_user}) {
    std::vector<policy::Demand> demands;
    std::vector<std::uint32_t> of, index(draft.plan.jobs.size(), kNone);
    for (std::uint32_t i = 0; i < draft.plan.jobs.size(); ++i) {
      const Job& job = draft.plan.jobs[i];
      for (std::uint32_t before : job.after)
        if (why[before] && !why[i]) why[i] = "waits for " + draft.plan.jobs[before].id + ", which waits";
      if (why[i]) continue;
      policy::Demand demand{job.id, job.gpus, job.gpu_hours, {}};
      for (std::uint32_t before : job.after)
        if (index[before] != kNone) demand.after.push_back(index[before]);
      index[i] = static_cast<std::uint32_t>(of.size());
      of.push_back(i);
      demands.push_back(std::move(demand));
    }
    const auto held =
        policy::hold_back(demands, *limits, 0, limits == &draft.site.policy.per_user ? "the user" : "the sweep");
    for (std::size_t i = 0; i < of.size() && i < held.size(); ++i)
      if (held[i]) why[of[i]] = *held[i];
  }
  for (std::uint32_t i = 0; i < draft.plan.jobs.size(); ++i) {
    for (std::uint32_t before : draft.plan.jobs[i].after)
      if (why[before] && !why[i]) why[i] = "waits for " + draft.plan.jobs[before].id + ", which waits";
    if (why[i]) draft.plan.waiting.push_back({i, *why[i]});
  }
}

void time_jobs(Draft& draft) {
  std::vector<Request> requests;
  requests.reserve(draft.plan.jobs.size());
  for (const Job& job : draft.plan.jobs) {
    Request request =
        request_of(draft, draft.plan.sizings[job.sizing].chosen, job.gpus, job.cpus, job.host_memory, job.seconds);
    request.after = job.after;
    requests.push_back(std::move(request));
  }
  for (const Waiting& waiting : draft.plan.waiting) requests[waiting.job].held = true;
  const Timetable table = schedule(requests, draft.pools, draft.caps);
  for (std::uint32_t i = 0; i < draft.plan.jobs.size(); ++i) {
    draft.plan.jobs[i].start = std::max(table.start[i], 0.0);
    draft.plan.totals.gpu_hours += draft.plan.jobs[i].gpu_hours;
    if (table.start[i] < 0 && !requests[i].held)
      draft.plan.waiting.push_back({i, "finds no place on the cluster within what may run at once"});
  }
  std::sort(draft.plan.waiting.begin(), draft.plan.waiting.end(),
            [](const Waiting& a, const Waiting& b) { return a.job < b.job; });
  draft.plan.totals.jobs = static_cast<std::int64_t>(draft.plan.jobs.size());
  draft.plan.totals.makespan = table.makespan;
}

}  // namespace

Request request_of(const Draft& draft, const Placement& place, int gpus, int cpus, double host_memory, double seconds) {
  if (gpus > 0) return {place.partition, place.nodes, gpus, seconds, {}, false};
  // Of a node that is given whole the GPUs are taken too.
  const Partition& partition = draft.site.cluster.partitions[place.partition];
  if (partition.exclusive) return {place.partition, 1, partition.gpus_per_node, seconds, {}, false};
  const auto partitions = static_cast<std::uint32_t>(draft.site.cluster.partitions.size());
  const int units = std::min(host_units(partition, cpus, host_memory), std::max(1, host_units(partition)));
  return {partitions + place.partition, 1, units, seconds, {}, false};
}

Plan make_plan(const matrix::Expansion& expansion, const Site& site, const History& history) {
  Draft draft(expansion, site, history);
  prepare(draft);
  note_choices(draft);
  combine_cells(draft);
  note_assumed(draft);
  pack_cells(draft);
  order_jobs(draft);
  hold(draft);
  time_jobs(draft);
  count_naive(draft);
  Plan& plan = draft.plan;
  plan.rejected = expansion.rejected;
  for (const matrix::Rejection& row : draft.rows.all())
    if (row.count > 0) plan.rejected.push_back(row);
  if (plan.cells == 0) plan.notes.push_back("no cell is accepted: there is nothing to run");
  return std::move(plan);
}

}  // namespace orch::planner
