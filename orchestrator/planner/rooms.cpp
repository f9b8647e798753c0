#include "planner/rooms.h"

#include <algorithm>

#include "planner/hosts.h"

namespace orch::planner {

double most_time(const Partition& partition, const Profile& profile) {
  if (partition.max_time <= 0 || profile.time_limit <= 0) return std::max(partition.max_time, profile.time_limit);
  return std::min(partition.max_time, profile.time_limit);
}

double most_time(const Site& site, const Placement& place) {
  return most_time(site.cluster.partitions[place.partition], site.catalog.profiles[place.profile]);
}

std::vector<std::uint32_t> shared_profiles(const Site& site, std::uint32_t partition_index) {
  const Partition& partition = site.cluster.partitions[partition_index];
  std::vector<std::uint32_t> profiles;
  for (std::uint32_t i = 0; i < site.catalog.profiles.size(); ++i) {
    const Profile& profile = site.catalog.profiles[i];
    if (profile.nodes == 1 && profile.use == ProfileUse::kAny && profile.gpus_per_node <= partition.gpus_per_node &&
        (profile.partition.empty() || profile.partition == partition.name))
      profiles.push_back(i);
  }
  std::stable_sort(profiles.begin(), profiles.end(), [&](std::uint32_t a, std::uint32_t b) {
    return site.catalog.profiles[a].gpus_per_node < site.catalog.profiles[b].gpus_per_node;
  });
  return profiles;
}

std::vector<Room> rooms_of(const Need& need, const Placement& place, const Site& site) {
  const Partition& partition = site.cluster.partitions[place.partition];
  std::vector<Room> rooms;
  if (need.no_gpu) {
    if (most_host_units(partition) > 0)
      rooms.push_back({most_host_units(partition), most_time(partition, site.catalog.profiles[place.profile])});
    return rooms;
  }
  if (place.alone) return rooms;
  for (const std::uint32_t i : shared_profiles(site, place.partition)) {
    const Profile& room = site.catalog.profiles[i];
    rooms.push_back({room.gpus_per_node, most_time(partition, room)});
  }
  return rooms;
}

}  // namespace orch::planner
