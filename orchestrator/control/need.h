// What a cell needs of a job, and what a job has to offer. Cells of equal need share one record.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/ids.h"

namespace orch::control {

/// What is asked of Slurm, or what a cell asks of a job: the same units, so that they can be compared.
struct Resources {
  int nodes = 1;
  double gpus = 0;          ///< over all nodes; of a cell that shares a GPU, a part of one
  int cpus = 1;             ///< over all nodes
  std::int64_t memory = 0;  ///< bytes a node; 0: not said
  bool operator==(const Resources&) const = default;
};

struct Need {
  NeedId id{};
  Resources resources;
  /// Jobs take cells of their own environment only: partition, GPU type, modules, container, variables. A digest.
  std::string environment;
  std::string profile;  ///< of the job that is submitted for it
  std::string loads;    ///< what is loaded once for many cells: model and how; empty: nothing
  bool trains = false;  ///< its cells are trainings of the native engine: what one worker leaves the next goes on with
  double load = 0;      ///< seconds
  double most = 0;      ///< seconds: the longest time limit that can be asked for; 0: any
  std::int64_t batch = 0;  ///< that a remedy may make smaller; 0: there is none
  /// What a job for several such cells side by side may be, on one node, ascending; none: a job is as large as the
  /// cell.
  std::vector<Resources> rooms;
  int nodes_there = 0;        ///< in its partition; 0: not known
  bool whole_nodes = false;   ///< idle GPUs of a node are paid for anyway
  std::string script_values;  ///< JSON: what the template of the profile is filled with (docs/templates.md)

  /// The first need that differs from this one in its resources at most, as after a remedy. Not kept: restore finds it.
  NeedId like{};

  // What happened to its jobs.
  int strikes = 0;      ///< jobs in a row that ended before they delivered anything
  std::string stopped;  ///< why no job is submitted for it any more; empty: they are
};

/// Need::like of one that is to come after these.
NeedId first_like(const std::vector<Need>& needs, const Need& need);

}  // namespace orch::control
