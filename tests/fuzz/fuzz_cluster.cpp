#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void cluster_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  if (root) {
    const std::vector<Cluster> clusters = read_clusters(*root, "input.yaml", shipped_catalog(), diagnostics);
    for (const Cluster& cluster : clusters)
      for (const Partition& partition : cluster.partitions) {
        promise(partition.nodes >= 1 && partition.gpus_per_node >= 1 && partition.cpus_per_node >= 1,
                "a partition has something to run on, even after an error");
        promise(partition.memory_per_node > 0 && partition.max_time >= 0, "amounts are amounts");
        if (diagnostics.ok()) promise(shipped_catalog().gpus.find(partition.gpu) != nullptr, "its GPU is known");
        promise(cluster.find(partition.name) != nullptr, "it is found by its name");
        const Submit joined = partition.submit.over(cluster.submit);
        for (const std::string& line : joined.sbatch)
          promise(line.find('\n') == std::string::npos, "an sbatch option is one line");
        if (diagnostics.ok())
          promise(!(joined.conda && joined.container), "an environment and an image exclude each other");
      }
    if (diagnostics.ok()) promise(!clusters.empty(), "there is a cluster, or an error");
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
