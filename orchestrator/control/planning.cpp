#include "control/planning.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "control/estimate.h"
#include "control/step.h"
#include "planner/sizing.h"

namespace orch::control {
namespace {

using planner::Group;
using planner::Mix;
using planner::PackedJob;

/// Cells of no GPU are packed by their CPUs: the arithmetic is the same.
bool counts_cpus(const Need& need) { return need.resources.gpus == 0; }

int units_of(const Need& need) {
  if (counts_cpus(need)) return std::max(need.resources.cpus, 1);
  return std::max(1, static_cast<int>(need.resources.gpus + 0.999));
}

/// Takes off what a live job will do, the best first: those cells ask for no job.
void cover(const Snapshot::Capacity& capacity, const std::vector<Need>& needs,
           std::vector<std::vector<Snapshot::Item>>& waiting) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < needs.size(); ++i)
    if (!waiting[i].empty() && fits(needs[i], capacity.job)) order.push_back(i);
  // What it was submitted for comes first.
  std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return needs[i].id == capacity.job.need; });
  double used = 0;  // share of the job's time on all its slots
  for (const std::size_t i : order) {
    const double lanes = side_by_side(needs[i], capacity.job);
    std::erase_if(waiting[i], [&](const Snapshot::Item& item) {
      const double seconds = capacity.seconds - needs[i].load;
      const double least = std::min(static_cast<double>(item.bound),
                                    needs[i].trains ? planner::kGetsSomewhere : static_cast<double>(item.bound));
      if (least > seconds) return false;
      const double share = std::min(static_cast<double>(item.expected), seconds) / (seconds * lanes);
      if (used + share > 1) return false;
      used += share;
      return true;
    });
  }
}

class Packing {
 public:
  explicit Packing(const Snapshot& snapshot) : needs_(snapshot.needs), waiting_(snapshot.waiting) {
    for (auto& items : waiting_)
      std::sort(items.begin(), items.end(),
                [](const auto& a, const auto& b) { return std::tuple(-a.rank, a.cell) < std::tuple(-b.rank, b.cell); });
    for (const Snapshot::Capacity& capacity : snapshot.live) cover(capacity, needs_, waiting_);
    number_ranks();
    for (std::size_t i = 0; i < needs_.size(); ++i) add_group(i, snapshot.rules);
  }

  std::vector<event::PlannedJob> jobs(const planner::PackRules& rules) const {
    std::vector<event::PlannedJob> planned;
    for (const PackedJob& packed : planner::pack(groups_, mixes_, rules)) planned.push_back(planned_job(packed));
    return planned;
  }

 private:
  /// Places in one order over all needs.
  void number_ranks() {
    std::vector<const Snapshot::Item*> all;
    for (const auto& items : waiting_)
      for (const Snapshot::Item& item : items) all.push_back(&item);
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) {
      return std::tuple(-a->rank, a->cell) < std::tuple(-b->rank, b->cell);
    });
    for (std::uint32_t i = 0; i < all.size(); ++i) place_[all[i]->cell] = i;
  }

  std::uint32_t mix_of(const Need& need) {
    const auto key = std::tuple(need.environment, counts_cpus(need), need.profile);
    const auto [at, added] = mix_index_.try_emplace(key, static_cast<std::uint32_t>(mixes_.size()));
    if (added) {
      Mix mix;
      for (const Resources& room : need.rooms)
        mix.rooms.push_back({counts_cpus(need) ? room.cpus : static_cast<int>(room.gpus), need.most});
      mix.exclusive = need.whole_nodes;
      mixes_.push_back(std::move(mix));
    }
    return at->second;
  }

  void add_group(std::size_t i, const planner::PackRules& rules) {
    const Need& need = needs_[i];
    Group group;
    // What is left of a training at a job's end is another job's.
    const auto most = need.trains ? static_cast<float>(planner::longest_bound(need.load, need.most, rules))
                                  : std::numeric_limits<float>::infinity();
    for (const Snapshot::Item& item : waiting_[i])
      group.items.push_back({static_cast<std::uint32_t>(index(item.cell)), place_.at(item.cell),
                             std::min(item.expected, most), std::min(item.bound, most)});
    group.nodes = need.resources.nodes;
    group.gpus = units_of(need);
    group.share = !counts_cpus(need) && need.resources.gpus < 1 ? need.resources.gpus : 1;
    group.load = need.load;
    group.most = need.most;
    group.mixes = mix_of(need);
    groups_.push_back(std::move(group));
  }

  event::PlannedJob planned_job(const PackedJob& packed) const {
    const auto first = std::min_element(packed.loads.begin(), packed.loads.end(),
                                        [](const auto& a, const auto& b) { return a.rank < b.rank; });
    const Need& need = needs_[first->group];
    event::PlannedJob job;
    job.need = need.id;
    for (const Snapshot::Item& item : waiting_[first->group])
      if (static_cast<std::uint32_t>(index(item.cell)) == first->cells.front()) job.sweep = item.sweep;
    job.resources = resources_of(packed, need);
    job.profile = need.profile;
    job.script_values = need.script_values;
    job.time_limit = packed.time_limit;
    return job;
  }

  /// The lanes' CPUs and memory, each lane's largest.
  Resources resources_of(const PackedJob& packed, const Need& first) const {
    if (packed.lanes == 1) {
      Resources all = first.resources;
      for (const auto& load : packed.loads) {
        const Resources& of = needs_[load.group].resources;
        all.cpus = std::max(all.cpus, of.cpus);
        all.memory = std::max(all.memory, of.memory);
      }
      if (all.gpus > 0) all.gpus = packed.gpus;
      return all;
    }
    std::map<int, Resources> lanes;
    for (const auto& load : packed.loads) {
      Resources& lane = lanes.try_emplace(load.lane, Resources{1, 0, 0, 0}).first->second;
      const Resources& of = needs_[load.group].resources;
      lane.cpus = std::max(lane.cpus, of.cpus);
      lane.memory = std::max(lane.memory, of.memory);
    }
    Resources all{1, counts_cpus(first) ? 0.0 : static_cast<double>(packed.gpus), 0, 0};
    for (const auto& [number, lane] : lanes) {
      all.cpus += lane.cpus;
      all.memory += lane.memory;
    }
    return all;
  }

  const std::vector<Need>& needs_;
  std::vector<std::vector<Snapshot::Item>> waiting_;
  std::map<CellId, std::uint32_t> place_;
  std::map<std::tuple<std::string, bool, std::string>, std::uint32_t> mix_index_;
  std::vector<Mix> mixes_;
  std::vector<Group> groups_;
};

}  // namespace

Snapshot snapshot(State& state, Now now) {
  Step step(state, now);
  Snapshot snapshot;
  snapshot.version = state.plan_version;
  snapshot.needs = state.needs;
  snapshot.waiting.resize(state.needs.size());
  for (std::uint32_t i = 0; i < state.cells.size(); ++i) {
    const CellId id{i};
    const Cell& cell = state.cells[i];
    if (!step.may_be_leased(id) || !state.needs[index(cell.need)].stopped.empty()) continue;
    std::optional<Snapshot::Item> best;
    state.each_want(id, [&](const Want& want) {
      const Sweep& sweep = state.sweeps[index(want.sweep)];
      if (sweep.state != SweepState::kRunning || !state.cares(want, id)) return;
      const double rank = static_cast<double>(sweep.cells[want.order].score) + age_bonus(state, sweep, now);
      if (!best || rank > best->rank) best = Snapshot::Item{id, rank, 0, 0, want.sweep};
    });
    if (!best) continue;
    const Estimate takes = estimate(state, id);
    best->expected = static_cast<float>(takes.expected);
    best->bound = static_cast<float>(takes.bound);
    snapshot.waiting[index(cell.need)].push_back(*best);
  }
  for (const JobId id : state.open_jobs) {
    const Job& job = state.jobs.at(id);
    if (job.is_over() || job.cancel_asked || job.state == JobState::kDraining) continue;
    const double had = job.started == Utc{} ? 0 : std::chrono::duration<double>(now.utc - job.started).count();
    snapshot.live.push_back(
        {job, std::max(0.0, static_cast<double>(job.time_limit) - state.policy.drain_signal - had)});
  }
  snapshot.rules.backfill = state.policy.planning.backfill;
  snapshot.rules.margin = state.policy.planning.time_margin;
  snapshot.rules.least = state.policy.planning.time_least;
  snapshot.rules.drain = state.policy.drain_signal + state.rules.start;
  snapshot.rules.piece_least = state.policy.planning.piece_least;
  snapshot.rules.load_worth = state.policy.planning.load_worth;
  snapshot.rules.idle_load_worth = state.policy.planning.idle_load_worth;
  snapshot.rules.idle_worth = state.policy.planning.idle_worth;
  snapshot.rules.small_gpus = state.policy.planning.small_gpus;
  // A job that no limit lets start would be planned again and again.
  for (const auto& most : {state.policy.per_user.max_gpus, state.policy.per_sweep.max_gpus})
    if (most && (snapshot.rules.most_gpus == 0 || *most < snapshot.rules.most_gpus)) snapshot.rules.most_gpus = *most;
  return snapshot;
}

event::Planned plan_jobs(const Snapshot& snapshot) {
  return {snapshot.version, Packing(snapshot).jobs(snapshot.rules)};
}

}  // namespace orch::control
