// The shapes of one node in which several cells may run side by side, and how long they may.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/pack.h"
#include "planner/sizing.h"

namespace orch::planner {

/// The profiles of one node that models may share on the partition, by GPUs ascending.
std::vector<std::uint32_t> shared_profiles(const Site& site, std::uint32_t partition);

/// The longest limit that may be asked for: of the partition, and of the profile. 0: any.
double most_time(const Partition& partition, const Profile& profile);
double most_time(const Site& site, const Placement& place);

/// What a job for several cells of this need may be; counted in CPUs where they take no GPU. None: each has a job of
/// its own size.
std::vector<Room> rooms_of(const Need& need, const Placement& place, const Site& site);

}  // namespace orch::planner
