// What jobs take of a node beside its GPUs: CPUs and host memory.
//
// Holds:
//  - Jobs without a GPU are counted in units, each a CPU with its part of the node's memory: whatever stands side by
//    side in the units of a node fits its CPUs and its memory.
#pragma once

#include "base/cluster.h"
#include "planner/sizing.h"

namespace orch::planner {

/// Of a node; 0: its CPUs are not known, and nothing is packed by them.
int host_units(const Partition& partition);

/// What so many CPUs and bytes take of those; at least 1.
int host_units(const Partition& partition, int cpus, double memory);

/// The units that jobs without a GPU may take together in one job: no more of a node than one of its GPUs stands for,
/// so that they keep no GPU from others; of a node that is given whole, all.
int most_host_units(const Partition& partition);

}  // namespace orch::planner
