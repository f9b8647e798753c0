// A plan: which jobs would run, where, for how long, in what order, and why.
//
// Holds:
//  - Every accepted cell is in exactly one job, or waits with its reason; every rejected one is counted in a row.
//  - Cells of one load have equal needs. A job stands after the jobs that make its adapters, or that its stage waits
//  for.
//  - gpus = layout.gpus() of every job.
//  - The same inputs give the same plan, byte for byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/sizing.h"
#include "planner/work.h"
#include "policy/score.h"

namespace orch::planner {

/// What a job loads once, and how many cells that serves.
struct JobLoad {
  std::uint32_t sizing = 0;             ///< index in Plan::sizings
  std::uint32_t model = matrix::kNone;  ///< index in the catalog
  int lane = 0;                         ///< loads of one lane follow each other, lanes run side by side
  int gpu = 0;                          ///< the first of the lane's GPUs, of those of the job
  double seconds = 0;                   ///< expected, with loading
  std::int64_t cells = 0;
};

struct Job {
  std::string id;                     ///< `j1`, `j2`, … in the order of their priority
  std::uint32_t sizing = 0;           ///< index in Plan::sizings, of its first load
  std::uint32_t profile = 0;          ///< index in the catalog; of a job with several lanes, one of so many GPUs
  Layout layout;                      ///< of the whole job: lanes cut alike count as copies; of others each GPU does
  std::vector<JobLoad> loads;         ///< in the order of their lanes
  std::vector<std::uint32_t> cells;   ///< indices in the expansion, best score first
  std::vector<std::uint32_t> models;  ///< loaded in this job, in order; several when small models share a job
  int nodes = 1;
  int gpus = 1;                      ///< over all nodes; 0: it runs on CPUs alone
  int cpus = 0;                      ///< on each node, of all lanes, where a command declares them; 0: the profile's
  double host_memory = 0;            ///< bytes on each node, likewise
  int lanes = 1;                     ///< models that run side by side in it, each with its own placement's GPUs
  int ranks = 1;                     ///< one a GPU of each lane, without GPUs one a lane; more than the GPUs where
                                     ///< lanes share one
  double gpu_memory = 0;             ///< bytes on its fullest GPU: of lanes that share one, the sum
  double utilisation = 0;            ///< gpu_memory / the GPU's memory
  double gpu_hours = 0;              ///< with the idle GPUs of nodes that it takes whole
  double seconds = 0;                ///< expected, with loading
  std::int64_t time_limit = 0;       ///< seconds, whole minutes
  double start = 0;                  ///< seconds from the start of the plan, on the given cluster; 0 if it waits
  double score = 0;                  ///< of its best cell
  std::vector<std::uint32_t> after;  ///< jobs (indices) that make its adapters, or that its stage waits for
  std::vector<std::string> reasons;
};

struct Waiting {
  std::uint32_t job = 0;
  std::string reason;
};

struct Totals {
  std::int64_t jobs = 0;  ///< those that wait included
  std::int64_t model_loads = 0;
  double gpu_hours = 0;
  double makespan = 0;  ///< seconds, of the jobs that do not wait
};

struct Plan {
  std::vector<Job> jobs;
  std::vector<Sizing> sizings;              ///< one for each distinct need
  std::vector<Need> needs;                  ///< of the same index
  std::vector<policy::Score> scores;        ///< of every cell of the expansion; zero for a rejected one
  std::vector<float> seconds;               ///< expected, of every cell
  std::vector<float> bounds;                ///< seconds that a cell will hardly exceed, of every cell
  std::vector<Basis> bases;                 ///< of these two, of every cell
  std::vector<std::uint32_t> need_of;       ///< of every cell, index in `needs`; kNone: rejected
  std::vector<std::uint32_t> job_of;        ///< of every cell; kNone: rejected
  std::vector<matrix::Rejection> rejected;  ///< the expansion's, the planner's and the policy's, one row a reason
  std::vector<Waiting> waiting;             ///< jobs beyond a soft budget
  std::vector<std::string> notes;
  std::int64_t cells = 0;  ///< accepted
  Totals totals;
  Totals naive;  ///< one job for each cell, each loading its model
};

/// Up to so many cells the naive makespan is that of a timetable; above, a bound that no timetable beats.
inline constexpr std::int64_t kMostNaiveJobs = 20'000;

/// Which jobs would run, on what, when and why. Takes time and memory linear in the cells, with little for each: what
/// cells share (need, place, duration, score) is worked out once for each combination of model, task and settings.
Plan make_plan(const matrix::Expansion& expansion, const Site& site, const History& history);

}  // namespace orch::planner
