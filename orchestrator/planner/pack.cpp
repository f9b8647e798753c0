#include "planner/pack.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "base/units.h"

namespace orch::planner {
namespace {

constexpr double kMostLimit = 365.0 * 86400;  // seconds; Slurm's own limits are below, and sums stay exact
constexpr int kMostTried = 64;                // nodes with room that a unit is tried on

/// `most`, where 0 means any.
double longest(double most) { return most > 0 ? std::min(most, kMostLimit) : kMostLimit; }

double limit_for(double bound, double most, const PackRules& rules) {
  const auto limit = static_cast<double>(time_limit_of(bound, rules));
  return std::min(limit, std::floor(longest(most) / 60) * 60);
}

bool fits(double bound, double most, const PackRules& rules) {
  return bound + rules.drain <= std::floor(longest(most) / 60) * 60;
}

double load_bound(double load, const PackRules& rules) { return load * std::max(rules.margin, 1.0); }

/// How many of a group run side by side on one GPU.
int side_by_side(const Group& group) {
  if (!(group.share > 0) || group.share > 0.5 || group.nodes != 1 || group.gpus != 1) return 1;
  return static_cast<int>(std::min(std::floor(1 / group.share + 1e-9), 64.0));
}

/// Whether it may share a job with others.
bool shares(const Group& group, const Mix& mix, const PackRules& rules) {
  return group.nodes == 1 && (mix.exclusive || group.gpus <= rules.small_gpus);
}

/// How many pieces it takes when each is filled as far as it goes.
std::int64_t pieces_filled(const Group& group, const PackRules& rules) {
  std::int64_t pieces = 1;
  double seconds = group.load, bound = load_bound(group.load, rules);
  bool empty = true;
  for (const Item& item : group.items) {
    const auto expected = static_cast<double>(item.expected);
    const auto limit = static_cast<double>(item.bound);
    if (!empty && (seconds + expected > rules.backfill || !fits(bound + limit, group.most, rules))) {
      ++pieces;
      seconds = group.load;
      bound = load_bound(group.load, rules);
    }
    seconds += expected;
    bound += limit;
    empty = false;
  }
  return pieces;
}

/// Into how many pieces of about equal length the group is cut: as many as `backfill` asks for, or lanes that share a
/// GPU, as long as a load is worth its piece.
std::int64_t pieces_of(const Group& group, double work, const PackRules& rules) {
  const auto cells = static_cast<double>(group.items.size());
  if (group.spoils) return static_cast<std::int64_t>(group.items.size());
  const double worth =
      group.load > 0 ? std::floor(work * rules.load_worth / (group.load * (1 - rules.load_worth))) : cells;
  auto pieces = static_cast<double>(pieces_filled(group, rules));
  const int lanes = side_by_side(group);
  if (lanes > 1) pieces = std::ceil(pieces / lanes) * lanes;
  return static_cast<std::int64_t>(std::clamp(std::min(pieces, worth), 1.0, std::max(cells, 1.0)));
}

/// Cuts a group into consecutive runs of about equal length, each within what may be asked for.
void cut(const Group& group, std::uint32_t index, const PackRules& rules, std::vector<Load>& loads) {
  if (group.items.empty()) return;
  double work = 0;
  for (const Item& item : group.items) work += static_cast<double>(item.expected);
  const std::int64_t pieces = pieces_of(group, work, rules);
  const double each = work / static_cast<double>(pieces);

  std::optional<Load> open;
  std::int64_t piece = 0;
  double done = 0;
  for (const Item& item : group.items) {
    const auto expected = static_cast<double>(item.expected);
    const auto bound = static_cast<double>(item.bound);
    // The piece in which the middle of the cell falls.
    const std::int64_t falls =
        each > 0 ? static_cast<std::int64_t>(std::min(static_cast<double>(pieces - 1), (done + expected / 2) / each))
                 : 0;
    done += expected;
    if (open && (group.spoils || falls > piece || !fits(open->bound + bound, group.most, rules))) {
      loads.push_back(std::move(*open));
      open.reset();
    }
    piece = falls;
    if (!open) open = Load{index, 0, 0, group.load, load_bound(group.load, rules), {}, item.rank};
    open->seconds += expected;
    open->bound += bound;
    open->cells.push_back(item.cell);
  }
  loads.push_back(std::move(*open));
}

/// Loads that follow each other on the same GPUs.
struct Lane {
  std::vector<Load> loads;
  int gpus = 1;
  double share = 1;
  double most = 0;
  double seconds = 0;
  double bound = 0;
  std::uint32_t rank = 0;

  void add(Load load, const Group& group) {
    rank = loads.empty() ? load.rank : std::min(rank, load.rank);
    share = loads.empty() ? group.share : std::max(share, group.share);
    most = loads.empty() ? longest(group.most) : std::min(most, longest(group.most));
    gpus = group.gpus;
    seconds += load.seconds;
    bound += load.bound;
    loads.push_back(std::move(load));
  }
};

/// Puts short loads one after another: the longest first, each into the lane that is shortest so far, in as few lanes
/// as the work fills. Where `side` of them share a GPU, their number is a multiple of that, so that none leaves its
/// part idle.
std::vector<Lane> follow(std::vector<Load> loads, std::span<const Group> groups, int side, const PackRules& rules) {
  std::sort(loads.begin(), loads.end(), [](const Load& a, const Load& b) {
    return std::tuple(-a.seconds, a.rank) < std::tuple(-b.seconds, b.rank);
  });
  double total = 0;
  for (const Load& load : loads)
    if (load.seconds < rules.backfill) total += load.seconds;
  const double filled = std::ceil(std::max(total, 1.0) / std::max(rules.backfill, 1.0) / side) * side;
  const auto wanted = static_cast<std::size_t>(std::clamp(filled, 1.0, static_cast<double>(loads.size())));

  std::vector<Lane> lanes;
  using Shortest = std::pair<double, std::size_t>;
  std::priority_queue<Shortest, std::vector<Shortest>, std::greater<>> open;
  std::size_t opened = 0;
  for (Load& load : loads) {
    const Group& group = groups[load.group];
    const bool alone = load.seconds >= rules.backfill;
    if (!alone && opened >= wanted) {
      Lane& lane = lanes[open.top().second];
      if (lane.seconds + load.seconds <= rules.backfill &&
          fits(lane.bound + load.bound, std::min(lane.most, longest(group.most)), rules)) {
        const std::size_t at = open.top().second;
        open.pop();
        lane.add(std::move(load), group);
        open.emplace(lane.seconds, at);
        continue;
      }
    }
    lanes.emplace_back().add(std::move(load), group);
    if (!alone) {
      open.emplace(lanes.back().seconds, lanes.size() - 1);
      ++opened;
    }
  }
  for (Lane& lane : lanes)
    std::sort(lane.loads.begin(), lane.loads.end(), [](const Load& a, const Load& b) { return a.rank < b.rank; });
  return lanes;
}

/// Lanes that share GPUs: one, or several that each have part of one GPU.
struct Unit {
  std::vector<Lane> lanes;
  int gpus = 1;
  double seconds = 0;
  double bound = 0;
  double most = 0;
  std::uint32_t rank = 0;

  void add(Lane lane) {
    rank = lanes.empty() ? lane.rank : std::min(rank, lane.rank);
    most = lanes.empty() ? lane.most : std::min(most, lane.most);
    gpus = lane.gpus;
    seconds = std::max(seconds, lane.seconds);
    bound = std::max(bound, lane.bound);
    lanes.push_back(std::move(lane));
  }
};

/// Puts lanes that need part of a GPU onto shared ones: the largest share first, each where it leaves least.
std::vector<Unit> share_gpus(std::vector<Lane> lanes) {
  std::sort(lanes.begin(), lanes.end(), [](const Lane& a, const Lane& b) {
    return std::tuple(-a.share, -a.seconds, a.rank) < std::tuple(-b.share, -b.seconds, b.rank);
  });
  std::vector<Unit> units;
  std::multimap<double, std::size_t> left;
  for (Lane& lane : lanes) {
    const double share = std::clamp(lane.share, 1e-3, 1.0);
    if (lane.gpus == 1 && lane.share < 1) {
      const auto at = left.lower_bound(share - 1e-9);
      if (at != left.end()) {
        const auto [rest, unit] = *at;
        left.erase(at);
        left.emplace(rest - share, unit);
        units[unit].add(std::move(lane));
        continue;
      }
      left.emplace(1 - share, units.size());
    }
    units.emplace_back().add(std::move(lane));
  }
  return units;
}

/// The smallest room for so many GPUs, or none.
const Room* room_for(const Mix& mix, int gpus) {
  for (const Room& room : mix.rooms)
    if (room.gpus >= gpus) return &room;
  return nullptr;
}

PackedJob job_of(std::vector<Unit> units, double most, const PackRules& rules) {
  PackedJob job;
  job.gpus = 0;
  job.lanes = 0;
  job.rank = units.front().rank;
  double bound = 0;
  // The widest first: a lane of four GPUs then has half of a node, and none lies across its middle.
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) { return a.gpus > b.gpus; });
  for (Unit& unit : units) {
    const int first = job.gpus;
    job.gpus += unit.gpus;
    job.seconds = std::max(job.seconds, unit.seconds);
    job.rank = std::min(job.rank, unit.rank);
    bound = std::max(bound, unit.bound);
    for (Lane& lane : unit.lanes) {
      for (Load& load : lane.loads) {
        load.lane = job.lanes;
        load.gpu = first;
        job.loads.push_back(std::move(load));
      }
      ++job.lanes;
    }
  }
  job.time_limit = static_cast<std::int64_t>(limit_for(bound, most, rules));
  return job;
}

/// Units that stand side by side on a node.
struct Node {
  std::vector<Unit> units;  ///< the longest first
  int gpus = 0;
  double busy = 0;  ///< GPU-seconds
  double bound = 0;
  double most = 0;

  explicit Node(Unit unit) : gpus(unit.gpus), busy(unit.seconds * unit.gpus), bound(unit.bound), most(unit.most) {
    units.push_back(std::move(unit));
  }

  /// Adds a unit that is no longer than those before it, if it may stand beside them.
  bool take(Unit& unit, const Mix& mix, const PackRules& rules) {
    const int together = gpus + unit.gpus;
    const Room* room = room_for(mix, together);
    if (!room) return false;
    const double with = busy + unit.seconds * unit.gpus;
    const double paid = units.front().seconds * together;
    if (!mix.exclusive && with < paid * (1 - rules.idle_worth)) return false;
    const double least = std::min({most, unit.most, longest(room->most)});
    if (!fits(std::max(bound, unit.bound), least, rules)) return false;
    gpus = together;
    busy = with;
    bound = std::max(bound, unit.bound);
    most = least;
    units.push_back(std::move(unit));
    return true;
  }
};

/// Puts units side by side on nodes, the longest first: those of about equal length, or where nodes are paid for whole
/// each onto the fullest that has room for it.
void share_nodes(std::vector<Unit> units, const Mix& mix, const PackRules& rules, std::vector<PackedJob>& jobs) {
  std::sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return std::tuple(-a.seconds, -a.gpus, a.rank) < std::tuple(-b.seconds, -b.gpus, b.rank);
  });
  const int room = mix.rooms.empty() ? 0 : mix.rooms.back().gpus;
  const int most_gpus = rules.most_gpus > 0 ? std::min(room, rules.most_gpus) : room;
  std::vector<Node> nodes;
  std::multimap<int, std::size_t, std::greater<>> open;  // by GPUs, of those that may take more
  const auto place = [&](Unit& unit) {
    int tried = 0;
    for (auto at = open.lower_bound(most_gpus - unit.gpus); at != open.end() && tried < kMostTried; ++at, ++tried) {
      const std::size_t node = at->second;
      if (!nodes[node].take(unit, mix, rules)) continue;
      open.erase(at);
      if (nodes[node].gpus < most_gpus) open.emplace(nodes[node].gpus, node);
      return true;
    }
    return false;
  };
  for (Unit& unit : units) {
    if (place(unit)) continue;
    // What differs too much in length from this unit differs more from the next.
    if (!mix.exclusive) open.clear();
    open.emplace(unit.gpus, nodes.size());
    nodes.emplace_back(std::move(unit));
  }
  for (Node& node : nodes) jobs.push_back(job_of(std::move(node.units), node.most, rules));
}

/// `piece`: the length that jobs were cut to.
void explain(PackedJob& job, std::span<const Group> groups, std::span<const std::int64_t> pieces, double piece,
             const PackRules& rules) {
  std::int64_t cells = 0;
  for (const Load& load : job.loads) cells += static_cast<std::int64_t>(load.cells.size());
  const auto loads = static_cast<std::int64_t>(job.loads.size());
  if (loads == 1) {
    if (cells > 1) job.reasons.push_back(grouped(cells) + " cells of equal need share one load");
    const Group& group = groups[job.loads.front().group];
    const std::int64_t of = pieces[job.loads.front().group];
    if (group.spoils && of > 1)
      job.reasons.push_back("a load of its own: each of " + grouped(of) + " cells changes the weights that it loads");
    else if (of > 1 && side_by_side(group) == 1)
      job.reasons.push_back("cut into " + grouped(of) +
                            (piece < rules.backfill
                                 ? " loads, so that no GPU is idle while there is work: about " + format_duration(piece)
                                 : " jobs, so that each fills a gap of about " + format_duration(piece)));
    return;
  }
  std::string text = counted(loads, "load");
  if (job.lanes == 1) {
    job.reasons.push_back(text + " one after another on " + counted(job.gpus, rules.unit) +
                          ": fewer jobs for the same " + std::string(rules.unit) + "-hours");
    return;
  }
  text += " in " + counted(job.lanes, "lane") + " side by side on " + counted(job.gpus, rules.unit);
  int ranks = 0;
  double busy = 0;
  for (std::size_t i = 0; i < job.loads.size(); ++i) {
    const Load& load = job.loads[i];
    busy += load.seconds * groups[load.group].gpus;
    if (i == 0 || load.lane != job.loads[i - 1].lane) ranks += groups[load.group].gpus;
  }
  if (ranks > job.gpus) {
    job.reasons.push_back(text + ", some of which share a GPU's memory as declared");
    return;
  }
  const double idle = job.seconds > 0 ? std::max(0.0, 1 - busy / (job.seconds * job.gpus)) : 0;
  job.reasons.push_back(text + ": fewer jobs, with " + format_fixed(100 * idle, 1) + " % of their " +
                        std::string(rules.unit) + "-time idle");
}

/// GPU-seconds of all cells, with a load of each group.
double work_of(std::span<const Group> groups) {
  double work = 0;
  for (const Group& group : groups) {
    double seconds = group.load * static_cast<double>(group.spoils ? group.items.size() : !group.items.empty());
    for (const Item& item : group.items) seconds += static_cast<double>(item.expected);
    work += seconds * group.gpus * std::clamp(group.share, 0.0, 1.0);
  }
  return work;
}

}  // namespace

std::int64_t time_limit_of(double bound, const PackRules& rules) {
  const double seconds = std::clamp(std::max(bound + rules.drain, rules.least), 60.0, kMostLimit);
  return static_cast<std::int64_t>(std::ceil(seconds / 60 - 1e-9)) * 60;
}

bool fits_alone(double load, double bound, double most, const PackRules& rules) {
  return fits(load_bound(load, rules) + bound, most, rules);
}

double longest_bound(double load, double most, const PackRules& rules) {
  return std::max(0.0, std::floor(longest(most) / 60) * 60 - rules.drain - load_bound(load, rules));
}

double piece_length(std::span<const Group> groups, const PackRules& rules) {
  if (!(rules.gpus >= 1)) return rules.backfill;
  return std::clamp(work_of(groups) / rules.gpus, std::min(rules.piece_least, rules.backfill), rules.backfill);
}

bool leaves_gpus_idle(std::span<const Group> groups, const PackRules& rules) {
  if (!(rules.gpus >= 1)) return false;
  double longest = 0;
  for (const Group& group : groups)
    for (const Item& item : group.items) longest = std::max(longest, group.load + static_cast<double>(item.expected));
  return work_of(groups) / rules.gpus < longest;
}

std::vector<PackedJob> pack(std::span<const Group> groups, std::span<const Mix> mixes, const PackRules& given) {
  PackRules rules = given;
  rules.backfill = piece_length(groups, given);
  if (leaves_gpus_idle(groups, given)) rules.load_worth = std::max(given.load_worth, given.idle_load_worth);
  std::vector<PackedJob> jobs;
  std::vector<std::int64_t> pieces(groups.size(), 0);

  static const Mix kNoRooms;
  const auto mix_of = [&](std::uint32_t mix) -> const Mix& { return mix < mixes.size() ? mixes[mix] : kNoRooms; };

  // Loads that may follow each other in a lane: with the same GPUs and as many to a GPU.
  std::map<std::tuple<std::uint32_t, std::uint32_t, int, int>, std::vector<Load>> sharing;
  for (std::uint32_t i = 0; i < groups.size(); ++i) {
    const Group& group = groups[i];
    std::vector<Load> loads;
    cut(group, i, rules, loads);
    pieces[i] = static_cast<std::int64_t>(loads.size());
    for (Load& load : loads) {
      if (shares(group, mix_of(group.mixes), rules)) {
        // Half a GPU and a third of one stay apart: a lane is as wide as the widest of its loads.
        const int side = group.share < 1 ? side_by_side(group) : 0;
        sharing[{group.mixes, group.follows, group.gpus, side}].push_back(std::move(load));
      } else {
        PackedJob job;
        job.gpus = group.gpus;
        job.seconds = load.seconds;
        job.rank = load.rank;
        job.time_limit = static_cast<std::int64_t>(limit_for(load.bound, group.most, rules));
        job.loads.push_back(std::move(load));
        jobs.push_back(std::move(job));
      }
    }
  }

  std::map<std::uint32_t, std::vector<Lane>> lanes;
  for (auto& [key, loads] : sharing) {
    const auto& [mix, follows, gpus, side] = key;
    std::vector<Lane>& of_mix = lanes[mix];
    for (Lane& lane : follow(std::move(loads), groups, std::max(side, 1), rules)) of_mix.push_back(std::move(lane));
  }
  for (auto& [mix, of_mix] : lanes) share_nodes(share_gpus(std::move(of_mix)), mix_of(mix), rules, jobs);

  std::sort(jobs.begin(), jobs.end(), [](const PackedJob& a, const PackedJob& b) { return a.rank < b.rank; });
  for (PackedJob& job : jobs) explain(job, groups, pieces, rules.backfill, given);
  return jobs;
}

}  // namespace orch::planner
