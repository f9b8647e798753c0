// Which cells may share a load or a job, and what a plan says of each job.
#include "planner/draft.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "planner/hosts.h"
#include "planner/rooms.h"
#include "planner/script.h"

namespace orch::planner {
namespace {

using matrix::Cell;
using matrix::kNone;

constexpr double kSecondsPerHour = 3600;

// The stages whose cells wait for others: those cells share jobs only with cells of their own stage, so that no two
// jobs can wait for each other.
bool gated(const Draft& draft, const Cell& cell) {
  if (cell.depends != kNone) return true;
  if (cell.stage >= draft.expansion.stages.size()) return false;
  const matrix::Stage& stage = draft.expansion.stages[cell.stage];
  return !stage.after.empty() || !stage.adapter_of.empty();
}

MixKey::Cut cut_of(const Draft& draft, const Placement& place) {
  const Profile& profile = draft.site.catalog.profiles[place.profile];
  return {profile.use, profile.partition, place.layout.tp, place.layout.pp, place.gpus};
}

/// What may follow each other in a lane: models that are cut alike, on profiles of one kind.
std::uint32_t follows_index(Draft& draft, const Placement& place) {
  return draft.follow_numbers.try_emplace(cut_of(draft, place), static_cast<std::uint32_t>(draft.follow_numbers.size()))
      .first->second;
}

std::uint32_t mix_index(Draft& draft, std::uint32_t need_at, const Placement& place, std::uint32_t gate) {
  const Need& need = draft.plan.needs[need_at];
  const Partition& partition = draft.site.cluster.partitions[place.partition];
  MixKey key{place.partition,
             need.kind,
             need.engine,
             need.command_stage,
             command_container(need, place, draft.site),
             need.no_gpu,
             place.alone ? need_at : kNone,
             gate,
             {}};
  // Where GPUs are paid for one by one only what is cut alike stands side by side; of a whole node anything may.
  if (!partition.exclusive) key.cut = cut_of(draft, place);
  const auto [at, added] =
      draft.mix_numbers.try_emplace(std::move(key), static_cast<std::uint32_t>(draft.mixes.size()));
  if (added) {
    Mix mix;
    mix.exclusive = partition.exclusive;
    mix.rooms = rooms_of(need, place, draft.site);
    draft.mixes.push_back(std::move(mix));
  }
  return at->second;
}

std::uint32_t group_index(Draft& draft, std::uint32_t need_at, std::uint32_t gate) {
  const auto [at, added] =
      draft.group_numbers.try_emplace({need_at, gate}, static_cast<std::uint32_t>(draft.groups.size()));
  if (added) {
    const Placement& place = draft.plan.sizings[need_at].chosen;
    Group group;
    group.nodes = place.nodes;
    group.gpus = place.gpus > 0
                     ? place.gpus
                     : host_units(draft.site.cluster.partitions[place.partition], place.cpus, place.host_memory);
    group.share = place.share;
    group.load = place.load_seconds;
    group.most = most_time(draft.site, place);
    group.spoils = draft.plan.needs[need_at].kind == matrix::CellKind::kTrain && draft.plan.needs[need_at].full;
    group.mixes = mix_index(draft, need_at, place, gate);
    group.follows = follows_index(draft, place);
    draft.groups.push_back(std::move(group));
    draft.need_of_group.push_back(need_at);
  }
  return at->second;
}

bool without_gpu(const Draft& draft, std::size_t group) { return draft.plan.needs[draft.need_of_group[group]].no_gpu; }

/// GPUs of the partitions that jobs go to, as far as they may be had at once.
double usable_gpus(const Draft& draft) {
  std::set<std::uint32_t> used;
  for (std::size_t i = 0; i < draft.groups.size(); ++i)
    if (!without_gpu(draft, i)) used.insert(draft.plan.sizings[draft.need_of_group[i]].chosen.partition);
  double gpus = 0;
  for (std::uint32_t partition : used)
    gpus += static_cast<double>(draft.pools[partition].nodes) * draft.pools[partition].gpus_per_node;
  return draft.caps.gpus ? std::min(gpus, static_cast<double>(*draft.caps.gpus)) : gpus;
}

/// What takes no GPU is packed by the units of nodes in place of GPUs, and apart from what does.
std::vector<PackedJob> pack_without_gpu(Draft& draft) {
  std::vector<Group> groups(draft.groups.size());
  std::set<std::uint32_t> used;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (!without_gpu(draft, i)) continue;
    groups[i] = std::move(draft.groups[i]);
    draft.groups[i] = {};
    used.insert(draft.plan.sizings[draft.need_of_group[i]].chosen.partition);
  }
  if (used.empty()) return {};
  PackRules rules = draft.rules;
  rules.unit = "CPU";
  rules.most_gpus = 0;
  rules.small_gpus = std::numeric_limits<int>::max();
  rules.gpus = 0;
  for (const std::uint32_t partition : used) {
    const Partition& where = draft.site.cluster.partitions[partition];
    rules.gpus += 1.0 * where.nodes * host_units(where);
  }
  return pack(groups, draft.mixes, rules);
}

/// CPUs and host memory of all lanes on a node, each lane's the most of its loads; of lanes that declare none, what the
/// profile has for their GPUs. Nothing where no lane declares any.
void add_host(const Draft& draft, const PackedJob& packed, Job& job) {
  struct Lane {
    double cpus = 0, memory = 0;
  };
  std::map<int, Lane> lanes;
  bool cpus = false, memory = false;
  for (const Load& load : packed.loads) {
    const Placement& place = draft.plan.sizings[draft.need_of_group[load.group]].chosen;
    const Profile& profile = draft.site.catalog.profiles[place.profile];
    const double gpus = place.share * place.gpus / std::max(1, place.nodes);
    Lane& lane = lanes[load.lane];
    lane.cpus = std::max(lane.cpus, place.cpus > 0 ? place.cpus : std::max(1.0, profile.cpus_per_gpu * gpus));
    lane.memory =
        std::max(lane.memory, place.host_memory > 0 ? place.host_memory
                                                    : profile.memory * gpus / std::max(1, profile.gpus_per_node));
    cpus = cpus || place.cpus > 0;
    memory = memory || place.host_memory > 0;
  }
  const Placement& first = draft.plan.sizings[job.sizing].chosen;
  const Partition& where = draft.site.cluster.partitions[first.partition];
  double all_cpus = 0, all_memory = 0;
  for (const auto& [index, lane] : lanes) {
    all_cpus += lane.cpus;
    all_memory += lane.memory;
  }
  if (where.cpus_per_node > 0) all_cpus = std::min<double>(all_cpus, where.cpus_per_node);
  if (where.memory_per_node > 0) all_memory = std::min(all_memory, where.memory_per_node);
  if (cpus) job.cpus = static_cast<int>(std::min(std::ceil(all_cpus - 1e-9), 1e6));
  if (memory) job.host_memory = all_memory;
}

/// Lanes that are cut alike are copies, and those that share a GPU are one. Of lanes that are not, each GPU counts as a
/// place of its own: their loads say how each is cut.
Layout layout_of(const Draft& draft, const PackedJob& packed) {
  const Placement& first = draft.plan.sizings[draft.need_of_group[packed.loads.front().group]].chosen;
  if (first.gpus == 0) return first.layout;
  for (const Load& load : packed.loads) {
    const Placement& place = draft.plan.sizings[draft.need_of_group[load.group]].chosen;
    if (place.layout.tp != first.layout.tp || place.layout.pp != first.layout.pp || place.gpus != first.gpus)
      return {1, 1, packed.gpus};
  }
  return {first.layout.tp, first.layout.pp, packed.gpus / (first.layout.tp * first.layout.pp)};
}

/// One a GPU of each lane, and one of a lane without.
int ranks_of(const Draft& draft, const PackedJob& packed) {
  std::map<int, int> of_lane;
  for (const Load& load : packed.loads)
    of_lane[load.lane] = std::max(1, draft.plan.sizings[draft.need_of_group[load.group]].chosen.gpus);
  int ranks = 0;
  for (const auto& [lane, gpus] : of_lane) ranks += gpus;
  return ranks;
}

/// Bytes on the fullest GPU: a lane needs what the largest of its loads does, and lanes that share a GPU add up.
double fullest_gpu(const Draft& draft, const PackedJob& packed) {
  std::map<std::pair<int, int>, double> of_lane;  // (GPU, lane)
  for (const Load& load : packed.loads) {
    double& bytes = of_lane[{load.gpu, load.lane}];
    bytes = std::max(bytes, draft.plan.sizings[draft.need_of_group[load.group]].chosen.memory.total());
  }
  std::map<int, double> of_gpu;
  double most = 0;
  for (const auto& [at, bytes] : of_lane) most = std::max(most, of_gpu[at.first] += bytes);
  return most;
}

/// What the durations of a job's cells rest on.
std::string bases_of(const Draft& draft, const Job& job) {
  constexpr std::size_t kShown = 3;
  std::set<std::uint32_t> all;
  for (std::uint32_t cell : job.cells) all.insert(draft.combinations[draft.combination_of[cell]].basis);
  std::string text = "durations: ";
  std::size_t shown = 0;
  for (std::uint32_t basis : all) {
    if (shown == kShown) return text + " and others";
    text += (shown++ ? "; " : "") + draft.bases[basis];
  }
  return text;
}

void add_load(Draft& draft, Job& job, const Load& load, std::int64_t cells) {
  const std::uint32_t need = draft.need_of_group[load.group];
  const std::uint32_t model = draft.plan.needs[need].model;
  job.loads.push_back({need, model, load.lane, load.gpu, load.seconds, cells});
  if (model == kNone) return;
  job.models.push_back(model);
  ++draft.plan.totals.model_loads;
}

std::uint32_t shared_profile(const Draft& draft, const Placement& place, int gpus) {
  if (gpus <= place.gpus) return place.profile;
  for (std::uint32_t i : shared_profiles(draft.site, place.partition))
    if (draft.site.catalog.profiles[i].gpus_per_node >= gpus) return i;
  return place.profile;
}

}  // namespace

void pack_cells(Draft& draft) {
  for (std::uint32_t position = 0; position < draft.ranked.size(); ++position) {
    const std::uint32_t i = draft.ranked[position];
    const Cell& cell = draft.expansion.cells[i];
    Combination& combination = draft.combinations[draft.combination_of[i]];
    const bool gate = gated(draft, cell);
    std::uint32_t& group = combination.group[gate ? 1 : 0];
    if (group == kNone) group = group_index(draft, combination.need, gate ? cell.stage + 1 : 0);
    Group& its = draft.groups[group];
    float expected = combination.expected, bound = combination.bound;
    if (goes_on(draft.plan.needs[combination.need])) {
      // The rest of it is another job's.
      bound = std::min(bound, static_cast<float>(longest_bound(its.load, its.most, draft.rules)));
      expected = std::min(expected, bound);
    }
    its.items.push_back({i, position, expected, bound});
  }
  draft.rules.gpus = usable_gpus(draft);
  std::vector<PackedJob> on_cpus = pack_without_gpu(draft);
  draft.packed = pack(draft.groups, draft.mixes, draft.rules);
  if (!on_cpus.empty()) {
    std::move(on_cpus.begin(), on_cpus.end(), std::back_inserter(draft.packed));
    std::sort(draft.packed.begin(), draft.packed.end(),
              [](const PackedJob& a, const PackedJob& b) { return a.rank < b.rank; });
  }
  for (Group& group : draft.groups) group.items = {};  // the loads hold the cells now
  for (std::uint32_t job = 0; job < draft.packed.size(); ++job)
    for (const Load& load : draft.packed[job].loads)
      for (std::uint32_t cell : load.cells) draft.plan.job_of[cell] = job;
}

Job make_job(Draft& draft, PackedJob packed) {
  Job job;
  job.id = "j" + std::to_string(draft.plan.jobs.size() + 1);
  job.sizing = draft.need_of_group[packed.loads.front().group];
  const Placement& place = draft.plan.sizings[job.sizing].chosen;
  job.profile = packed.lanes > 1 && place.gpus > 0 ? shared_profile(draft, place, packed.gpus) : place.profile;
  job.nodes = place.nodes;
  job.gpus = place.gpus > 0 ? packed.gpus : 0;
  job.lanes = packed.lanes;
  job.ranks = ranks_of(draft, packed);
  add_host(draft, packed, job);
  job.layout = layout_of(draft, packed);
  job.gpu_memory = fullest_gpu(draft, packed);
  if (const Gpu* gpu = draft.site.catalog.gpus.find(draft.site.cluster.partitions[place.partition].gpu))
    job.utilisation = job.gpu_memory / gpu->memory;
  job.seconds = packed.seconds;
  job.time_limit = packed.time_limit;
  job.gpu_hours = occupied_gpus(draft.pools[place.partition], job.nodes, job.gpus) * job.seconds / kSecondsPerHour;
  job.reasons = std::move(packed.reasons);
  if (packed.loads.size() == 1) {
    job.cells = std::move(packed.loads.front().cells);
    add_load(draft, job, packed.loads.front(), static_cast<std::int64_t>(job.cells.size()));
  } else {
    for (const Load& load : packed.loads) {
      add_load(draft, job, load, static_cast<std::int64_t>(load.cells.size()));
      job.cells.insert(job.cells.end(), load.cells.begin(), load.cells.end());
    }
    std::sort(job.cells.begin(), job.cells.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::pair(-draft.plan.scores[a].total, a) < std::pair(-draft.plan.scores[b].total, b);
    });
  }
  job.score = draft.plan.scores[job.cells.front()].total;
  job.reasons.push_back(bases_of(draft, job));
  job.reasons.push_back("time limit " + format_slurm_time(job.time_limit) + ": " + format_duration(job.seconds) +
                        " expected, with a margin and " + format_duration(draft.rules.drain) + " to stop");
  return job;
}

}  // namespace orch::planner
