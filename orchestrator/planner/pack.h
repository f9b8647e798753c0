// From cells to jobs: which share a load, where a long job is cut, which small models share a job.
//
// Holds:
//  - Every cell is in exactly one load, and every load in exactly one job.
//  - Cells of a group that spoils its weights are each in a load of their own.
//  - The cells of a load are consecutive in the order of priority among those of equal need.
//  - A job's time limit is whole minutes, and at most what its partition and profile allow.
//  - What runs side by side on one GPU declares at most the whole of it; on one node, at most the GPUs of the job.
//  - No job has more GPUs than one may have (PackRules::most_gpus), unless a group alone does.
//  - Sharing never costs GPU-hours beyond `idle_worth` of the job, except where idle GPUs of a node are paid for
//  anyway.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orch::planner {

/// One cell, as far as packing goes.
struct Item {
  std::uint32_t cell = 0;
  std::uint32_t rank = 0;  ///< place in the order of priority; no two are equal
  float expected = 0;      ///< seconds, without loading
  float bound = 0;         ///< seconds that it will hardly exceed
};

/// Cells of one need, best first.
struct Group {
  std::vector<Item> items;
  int nodes = 1;
  int gpus = 1;               ///< over all nodes
  double share = 1;           ///< of one GPU's memory; below 1 several run on one GPU
  double load = 0;            ///< seconds
  double most = 0;            ///< seconds: the longest time limit that can be asked for; 0: any
  std::uint32_t mixes = 0;    ///< groups of equal number may share a job
  std::uint32_t follows = 0;  ///< of one mix, groups of equal number and GPUs may follow each other in a lane
  bool spoils = false;        ///< a cell changes the weights that were loaded: the next loads them again
};

/// A shape of one node that a shared job may take.
struct Room {
  int gpus = 0;
  double most = 0;  ///< seconds, as in Group; 0: any
};

/// What groups of one `mixes` share.
struct Mix {
  std::vector<Room> rooms;  ///< by GPUs ascending; none: nothing runs side by side but on one GPU
  bool exclusive = false;   ///< whole nodes are paid for: idle GPUs cost nothing more, and models of any size share
};

struct PackRules {
  double backfill = 4 * 3600;  ///< seconds: longer jobs are cut
  double margin = 1.3;         ///< on the time of a load
  double least = 600;          ///< seconds: the shortest limit
  double drain = 120;          ///< seconds before the limit in which nothing is begun
  double gpus = 0;             ///< that the jobs may have at once: with little work, shorter jobs fill them; 0: unknown
  int most_gpus = 0;           ///< that one job may have; 0: any
  double piece_least = 60;     ///< seconds: idle GPUs make no job shorter
  double load_worth = 0.20;  ///< a load is worth repeating when it takes at most this share of the piece that it begins
  double idle_load_worth = 0.35;  ///< the same where GPUs are idle whatever is done
  double idle_worth = 0.05;       ///< the most of a job's GPU-time that waits for its longest model
  int small_gpus = 2;             ///< the most GPUs of a model that shares a job where nodes are not given whole
  std::string_view unit = "GPU";  ///< what Group::gpus counts, for people
};

/// What is loaded once, and the cells that it serves.
struct Load {
  std::uint32_t group = 0;
  int lane = 0;                      ///< loads of one lane follow each other
  int gpu = 0;                       ///< the first of its GPUs, of those of the job; lanes that share one say the same
  double seconds = 0;                ///< expected, with loading
  double bound = 0;                  ///< hardly exceeded, with loading
  std::vector<std::uint32_t> cells;  ///< best first
  std::uint32_t rank = 0;            ///< of the best cell
};

struct PackedJob {
  std::vector<Load> loads;  ///< by lane, in the order in which they are loaded
  int lanes = 1;            ///< that run side by side
  int gpus = 1;             ///< over all nodes
  double seconds = 0;       ///< of the longest lane
  std::int64_t time_limit = 0;
  std::uint32_t rank = 0;  ///< of the best cell
  std::vector<std::string> reasons;
};

/// The length that jobs are cut to: what keeps all GPUs busy, at least `piece_least`, at most `backfill`.
double piece_length(std::span<const Group> groups, const PackRules& rules);

/// Whether GPUs are idle whatever is done: all of them together need less time for the work than the longest cell
/// alone.
bool leaves_gpus_idle(std::span<const Group> groups, const PackRules& rules);

/// `mixes` is indexed by Group::mixes. A group without items gives nothing; every item alone fits its group's `most`
/// (see fits_alone). Jobs come in the order of their best cell.
std::vector<PackedJob> pack(std::span<const Group> groups, std::span<const Mix> mixes, const PackRules& rules);

/// The limit asked for when loads and work are bounded by `bound` seconds: with the drain, at least `least`, whole
/// minutes.
std::int64_t time_limit_of(double bound, const PackRules& rules);

/// Whether a job of one cell stays within `most`. Of a limit that only `least` makes too long, `most` itself is asked
/// for.
bool fits_alone(double load, double bound, double most, const PackRules& rules);

/// The longest bound with which a job of one cell stays within `most`; at least 0.
double longest_bound(double load, double most, const PackRules& rules);

}  // namespace orch::planner
