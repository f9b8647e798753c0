// Commands that take no GPU: where they run, and how they share a node.
#include "planner/hosts.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizer.h"

namespace orch::planner {

int host_units(const Partition& partition) { return std::max(0, partition.cpus_per_node); }

int host_units(const Partition& partition, int cpus, double memory) {
  double units = std::max(1, cpus);
  if (partition.memory_per_node > 0 && memory > 0)
    units = std::max(units, std::ceil(memory / partition.memory_per_node * host_units(partition) - 1e-9));
  return static_cast<int>(std::min(units, 1e6));
}

int most_host_units(const Partition& partition) {
  const int all = host_units(partition);
  return partition.exclusive ? all : std::max(std::min(1, all), all / std::max(1, partition.gpus_per_node));
}

/// The first partition that has the CPUs and the memory; one that is given whole only if no other does, as its GPUs are
/// then kept from others.
Result<Sizing> Sizer::run_without_gpu() {
  const Shapes shapes = shapes_of(site_);
  std::optional<Placement> chosen;
  for (const Shape& shape : shapes.usable) {
    const Profile& its = site_.catalog.profiles[shape.profile];
    const Partition& where = site_.cluster.partitions[shape.partition];
    if (its.use != ProfileUse::kAny || its.nodes != 1) continue;
    if (const auto why = why_not_host(shape)) {
      refuse(*why);
      continue;
    }
    if (chosen && (where.exclusive || !partition(*chosen).exclusive)) continue;
    Placement p;
    p.profile = shape.profile;
    p.partition = shape.partition;
    p.gpus = 0;
    p.layout = Layout{1, 1, 0};
    p.cpus = std::max(1, need_.cpus);
    p.host_memory = static_cast<double>(need_.memory);
    if (need_.memory == 0 && where.memory_per_node > 0 && where.cpus_per_node > 0)
      p.host_memory = where.memory_per_node * p.cpus / where.cpus_per_node;
    p.load_seconds = load_seconds(p);
    chosen = p;
  }
  for (const std::string& why : shapes.refused) refuse(why);
  if (!chosen) {
    std::string text = "no partition can run a command without a GPU";
    for (std::size_t i = 0; i < std::min<std::size_t>(3, refused_.size()); ++i)
      text += (i == 0 ? ": " : "; ") + refused_[i];
    return Error{text};
  }
  Sizing sizing;
  sizing.chosen = *chosen;
  sizing.reasons.push_back(
      "no GPU, as asked for: " + counted(chosen->cpus, "CPU") +
      (chosen->host_memory > 0 ? " and " + format_bytes(chosen->host_memory) + " of memory" : "") +
      " on a node of partition " + shown(partition(*chosen).name) +
      (partition(*chosen).exclusive ? ", which gives nodes whole: its GPUs are idle meanwhile" : ""));
  sizing.refused = std::move(refused_);
  return sizing;
}

}  // namespace orch::planner
