#include "planner/shapes.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace orch::planner {
namespace {

constexpr std::size_t kRefusalsKept = 32;
constexpr std::int64_t kMostGpus = 4096;  // of one job; keeps the search for layouts short whatever a file says

std::optional<std::string> why_not_held(const Profile& profile, const Partition& partition) {
  const auto per_node = std::to_string(profile.gpus_per_node);
  if (profile.nodes < 1 || profile.gpus_per_node < 1) return "has no GPU";
  if (static_cast<std::int64_t>(profile.nodes) * profile.gpus_per_node > kMostGpus)
    return "more than " + std::to_string(kMostGpus) + " GPUs in one job";
  if (profile.gpus_per_node > partition.gpus_per_node)
    return per_node + " GPUs of a node, it has " + std::to_string(partition.gpus_per_node);
  if (profile.nodes > partition.nodes)
    return counted(profile.nodes, "node") + ", it has " + std::to_string(partition.nodes);
  if (partition.max_nodes > 0 && profile.nodes > partition.max_nodes)
    return counted(profile.nodes, "node") + ", a job may have " + std::to_string(partition.max_nodes);
  return std::nullopt;
}

/// What the profile would like to have beside its GPUs, and the node has not.
std::optional<std::string> lack_of_host(const Profile& profile, const Partition& partition) {
  const std::int64_t cpus = static_cast<std::int64_t>(profile.cpus_per_gpu) * profile.gpus_per_node;
  if (partition.cpus_per_node > 0 && cpus > partition.cpus_per_node)
    return std::to_string(cpus) + " CPUs of a node, it has " + std::to_string(partition.cpus_per_node);
  if (partition.memory_per_node > 0 && profile.memory > partition.memory_per_node)
    return format_bytes(profile.memory) + " of host memory, a node has " + format_bytes(partition.memory_per_node);
  return std::nullopt;
}

}  // namespace

Shapes shapes_of(const Site& site) {
  Shapes shapes;
  const auto refuse = [&](const std::string& sentence) {
    if (shapes.refused.size() < kRefusalsKept) shapes.refused.push_back(sentence);
  };
  for (std::uint32_t p = 0; p < site.cluster.partitions.size(); ++p) {
    const Partition& partition = site.cluster.partitions[p];
    if (site.submit.partition && *site.submit.partition != partition.name) continue;
    const Gpu* gpu = site.catalog.gpus.find(partition.gpu);
    if (!gpu || !(gpu->memory > 0) || !(gpu->bandwidth > 0)) {
      refuse(shown(partition.name) + ": nothing is known of its GPU " + quote(partition.gpu));
      continue;
    }
    bool comfortable = false;  // some profile has all that it asks for
    std::vector<std::pair<Shape, std::string>> modest;
    for (std::uint32_t at = 0; at < site.catalog.profiles.size(); ++at) {
      const Profile& profile = site.catalog.profiles[at];
      if (!site.submit.partition && !profile.partition.empty() && profile.partition != partition.name) continue;
      if (const auto why = why_not_held(profile, partition))
        refuse(shown(profile.name) + " on " + shown(partition.name) + ": " + *why);
      else if (const auto lack = lack_of_host(profile, partition))
        modest.emplace_back(Shape{at, p}, shown(profile.name) + " on " + shown(partition.name) + ": " + *lack);
      else
        shapes.usable.push_back({at, p}), comfortable = true;
    }
    // On a partition of small nodes jobs get what there is.
    for (const auto& [shape, lack] : modest) {
      if (comfortable)
        refuse(lack);
      else
        shapes.usable.push_back(shape);
    }
  }
  if (site.submit.partition && !site.cluster.find(*site.submit.partition))
    refuse("the cluster has no partition " + quote(*site.submit.partition));
  std::stable_sort(shapes.usable.begin(), shapes.usable.end(), [&](const Shape& a, const Shape& b) {
    const int left = site.catalog.profiles[a.profile].gpus();
    const int right = site.catalog.profiles[b.profile].gpus();
    return left != right ? left < right : a.profile < b.profile;
  });
  return shapes;
}

int use_rank(const Profile& profile, const Model& model) {
  switch (profile.use) {
    case ProfileUse::kAny:
      return 1;
    case ProfileUse::kMoe:
      return model.is_moe() ? 0 : 2;
    case ProfileUse::kMultimodal:
      return model.kind == ModelKind::kVisionLanguage ? 0 : 2;
  }
  return 2;
}

std::optional<std::string> why_not_computed(const Gpu& gpu, DType compute) {
  if (!(gpu.flops_for(compute) > 0)) return "no arithmetic speed of " + shown(gpu.name) + " is known";
  if (gpu.computes(compute) || compute == DType::kFp32)
    return std::nullopt;  // every GPU has fp32; the file left it out
  std::string text = shown(gpu.name) + " does not compute in " + std::string(name_of(compute));
  if (compute == DType::kBf16) return text + ", and fp16 would give other numbers; dtype fp16 or fp32 says so openly";
  if (compute == DType::kFp16) return text + "; dtype fp32 would be another cell";
  return text + "; compute_dtype bf16 widens the weights as they are read, and is another cell";
}

std::vector<matrix::RunPlace> run_places(const Site& site) {
  std::vector<matrix::RunPlace> places;
  for (const Shape& shape : shapes_of(site).usable) {
    const Profile& profile = site.catalog.profiles[shape.profile];
    const Partition& partition = site.cluster.partitions[shape.partition];
    places.push_back(
        {"profile " + profile.name + " on partition " + partition.name, profile.submit.over(partition.submit)});
  }
  return places;
}

}  // namespace orch::planner
