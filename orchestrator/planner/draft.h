// A plan while it is made: what the steps of make_plan() hand on to each other.
//
// Holds:
//  - A step fills what stands under its file in Draft, and parts of the plan, from what stands above it.
#pragma once

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "planner/pack.h"
#include "planner/plan.h"
#include "planner/rooms.h"
#include "planner/schedule.h"

namespace orch::planner {

/// Cells of equal model, task, stage and settings (less those that do not matter) share all that the planner works out.
struct Combination {
  std::uint32_t first = 0;  ///< its first cell
  std::uint32_t need = matrix::kNone;
  std::uint32_t row = matrix::kNone;  ///< of the rejection; kNone: accepted
  float expected = 0;                 ///< seconds
  float bound = 0;
  std::uint32_t basis = 0;  ///< of the duration, in Draft::bases
  Basis from = Basis::kUnknown;
  policy::Score score;
  std::uint32_t cells = 0;                                              ///< accepted
  std::array<std::uint32_t, 2> group = {matrix::kNone, matrix::kNone};  ///< of cells without and with a gate
};

/// What cells must have in common to share a job.
struct MixKey {
  /// How a model lies on its GPUs, and for which kind of model its profile is made.
  struct Cut {
    ProfileUse use = ProfileUse::kAny;
    std::string partition;  ///< of the profile, if it names one
    int tp = 0;
    int pp = 0;
    int gpus = 0;
    auto operator<=>(const Cut&) const = default;
  };
  std::uint32_t partition = 0;
  matrix::CellKind kind = matrix::CellKind::kEval;
  Engine engine = Engine::kNative;
  std::uint32_t command_stage = matrix::kNone;
  std::string container;  ///< of a command: a job's script runs in one
  bool no_gpu = false;
  std::uint32_t alone = matrix::kNone;  ///< the need of those that nothing stands beside
  std::uint32_t gate = 0;
  Cut cut;
  auto operator<=>(const MixKey&) const = default;
};

/// Rejections as they are counted: one row for one rule, reason, model and task; with very many, for one rule and
/// reason.
class Rows {
 public:
  std::uint32_t row(const std::string& rule, const std::string& reason, const std::string& model,
                    const std::string& task) {
    const bool many = rows_.size() >= matrix::kMostRejections;
    const std::string& of_model = many ? kAny : model;
    const std::string& of_task = many ? kAny : task;
    const auto [at, added] =
        index_.try_emplace({rule, reason, of_model, of_task}, static_cast<std::uint32_t>(rows_.size()));
    if (added) rows_.push_back({of_model, of_task, rule, reason, 0});
    return at->second;
  }
  matrix::Rejection& operator[](std::uint32_t row) { return rows_[row]; }
  const std::vector<matrix::Rejection>& all() const { return rows_; }

 private:
  inline static const std::string kAny = "*";
  std::map<std::array<std::string, 4>, std::uint32_t> index_;
  std::vector<matrix::Rejection> rows_;
};

struct Draft {
  Draft(const matrix::Expansion& of, const Site& at, const History& known) : expansion(of), site(at), history(known) {}

  const matrix::Expansion& expansion;
  const Site& site;
  const History& history;
  Plan plan;
  Rows rows;  ///< of what is rejected

  // Of the cluster, before any cell is looked at.
  PackRules rules;
  Caps caps;
  std::vector<Pool> pools;    ///< of its partitions' GPUs, then of their CPUs in the same order
  std::vector<double> flops;  ///< of the partitions' GPUs
  double best_flops = 0;

  // combine.cpp
  std::vector<Combination> combinations;
  std::vector<std::uint32_t> combination_of;  ///< of every cell
  std::map<Need, std::uint32_t> needs;        ///< index in Plan::needs
  std::vector<std::string> why_not;           ///< of every need; empty: it was sized
  std::vector<std::string> bases;             ///< of durations
  std::vector<std::uint32_t> ranked;          ///< accepted cells, best first

  // jobs.cpp
  std::map<MixKey, std::uint32_t> mix_numbers;          ///< index in `mixes`
  std::map<MixKey::Cut, std::uint32_t> follow_numbers;  ///< Group::follows
  std::vector<Mix> mixes;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> group_numbers;  ///< (need, gate) → index in `groups`
  std::vector<Group> groups;
  std::vector<std::uint32_t> need_of_group;
  std::vector<PackedJob> packed;
};

/// Finds what cells share: combinations with their need, place, duration and score; counts what is rejected; puts the
/// accepted cells in the order of their priority.
void combine_cells(Draft& draft);

/// Packs the ranked cells.
void pack_cells(Draft& draft);

/// The plan's next job, with all that a plan says of it but its start and what it waits for.
Job make_job(Draft& draft, PackedJob packed);

/// Makes the plan's jobs of the packed ones, in the order of priority, each after those it waits for.
void order_jobs(Draft& draft);

/// What the timetable needs to know of a job with so many GPUs there; without any, of its CPUs and memory.
Request request_of(const Draft& draft, const Placement& place, int gpus, int cpus, double host_memory, double seconds);

/// What one job for each cell would cost.
void count_naive(Draft& draft);

}  // namespace orch::planner
