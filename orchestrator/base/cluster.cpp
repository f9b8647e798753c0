#include "base/cluster.h"

#include <algorithm>

#include "base/catalog.h"
#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch {
namespace {

constexpr std::size_t kMostPartitions = 1000;

Submit read_submit_of(Fields& outer, const std::string& file, Diagnostics& diagnostics) {
  const Yaml* node = outer.get("submit");
  if (!node) return {};
  return read_submit_without_partition(*node, file, diagnostics, "the keys of 'partitions' are the partitions");
}

Partition read_partition(const std::string& name, const Yaml& node, const Place& place, const std::string& file,
                         const Catalog& catalog, Diagnostics& diagnostics) {
  Fields fields(node, file, "the partition " + quote(name), diagnostics);
  Partition partition;
  partition.name = name;
  partition.source = place;
  fields.require("gpu");
  if (const auto gpu = fields.name("gpu")) {
    partition.gpu = *gpu;
    if (!catalog.gpus.find(*gpu)) {
      const std::vector<std::string> known = catalog.gpus.names();
      const std::string near = hint(*gpu, known);
      fields.error("gpu",
                   "no GPU " + quote(*gpu) + " in the catalog" +
                       (near.empty() && !known.empty() && known.size() <= 20 ? "; it has " + join(known, ", ") : near));
    }
  }
  for (std::string_view key : {"nodes", "gpus_per_node", "cpus_per_node", "memory_per_node"}) fields.require(key);
  partition.nodes = static_cast<int>(fields.whole("nodes", 1, 100'000).value_or(1));
  partition.gpus_per_node = static_cast<int>(fields.whole("gpus_per_node", 1, 64).value_or(1));
  partition.cpus_per_node = static_cast<int>(fields.whole("cpus_per_node", 1, 100'000).value_or(1));
  partition.memory_per_node = fields.bytes("memory_per_node", kMiB, 1e15).value_or(kGiB);
  partition.max_time = fields.duration("max_time", 60).value_or(0);
  const auto max_nodes = fields.whole("max_nodes", 1, 100'000);
  partition.max_nodes = static_cast<int>(max_nodes.value_or(0));
  if (partition.max_nodes > partition.nodes && fields.has("nodes"))
    fields.error("max_nodes", "'max_nodes' must be at most 'nodes', which is " + std::to_string(partition.nodes) +
                                  "; found " + std::to_string(partition.max_nodes));
  partition.exclusive = fields.truth("exclusive").value_or(false);
  partition.shares_gpus = fields.truth("shares_gpus").value_or(false);
  partition.network = fields.rate("network", 1e6).value_or(0);
  partition.load_bandwidth = fields.rate("load_bandwidth", 1e6).value_or(0);
  partition.submit = read_submit_of(fields, file, diagnostics);
  fields.finish();
  return partition;
}

Cluster read_cluster(const std::string& name, Fields& fields, const Place& place, const std::string& file,
                     const Catalog& catalog, Diagnostics& diagnostics) {
  Cluster cluster;
  cluster.name = name;
  cluster.source = place;
  cluster.request =
      fields.choice<GpuRequest>("request", {{"gres", GpuRequest::kGres}, {"gpus-per-node", GpuRequest::kGpusPerNode}})
          .value_or(GpuRequest::kGres);
  cluster.gres_name = fields.name("gres_name").value_or("gpu");
  cluster.gres_typed = fields.truth("gres_typed").value_or(true);
  cluster.submit = read_submit_of(fields, file, diagnostics);
  if (const Yaml* partitions = fields.require("partitions")) {
    if (!partitions->is_map() || partitions->entries.empty() || partitions->entries.size() > kMostPartitions) {
      fields.error(
          "partitions",
          "'partitions' must be a map of 1 to " + grouped(kMostPartitions) + " partitions by name, found " +
              (partitions->is_map() ? counted(static_cast<long long>(partitions->entries.size()), "entry", "entries")
                                    : describe(*partitions)));
    } else {
      for (const Yaml::Entry& entry : partitions->entries) {
        const Place at{file, entry.line, entry.column};
        if (!is_name(entry.key))
          diagnostics.error(at,
                            "a partition's name is made of letters, digits and _ . - : / +; found " + quote(entry.key));
        else
          cluster.partitions.push_back(read_partition(entry.key, entry.value, at, file, catalog, diagnostics));
      }
    }
  }
  fields.finish();
  return cluster;
}

}  // namespace

const Partition* Cluster::find(const std::string& partition) const {
  const auto at = std::ranges::find(partitions, partition, &Partition::name);
  return at == partitions.end() ? nullptr : &*at;
}

std::vector<Cluster> read_clusters(const Yaml& root, const std::string& file, const Catalog& catalog,
                                   Diagnostics& diagnostics) {
  std::vector<Cluster> clusters;
  Fields fields(root, file, "a cluster file", diagnostics);
  const Yaml* one = fields.get("cluster");
  const Yaml* several = fields.get("clusters");
  if (fields.is_map() && !one == !several)
    diagnostics.error(fields.place(), "a cluster file has either 'cluster' or 'clusters'");
  if (one) {
    Fields cluster(*one, file, "a cluster", diagnostics);
    cluster.require("name");
    const std::string name = cluster.name("name").value_or("");
    clusters.push_back(read_cluster(name, cluster, place_of(*one, file), file, catalog, diagnostics));
  }
  if (several && (!several->is_map() || several->entries.empty() || several->entries.size() > kMostPartitions)) {
    fields.error("clusters",
                 "'clusters' must be a map of at least one cluster by name, found " +
                     (several->is_map() ? "a map of " + grouped(static_cast<long long>(several->entries.size()))
                                        : describe(*several)));
  } else if (several) {
    for (const Yaml::Entry& entry : several->entries) {
      const Place at{file, entry.line, entry.column};
      if (!is_name(entry.key)) {
        diagnostics.error(at, "a cluster's name is made of letters, digits and _ . - : / +; found " + quote(entry.key));
        continue;
      }
      Fields cluster(entry.value, file, "the cluster " + quote(entry.key), diagnostics);
      clusters.push_back(read_cluster(entry.key, cluster, at, file, catalog, diagnostics));
    }
  }
  fields.finish();
  return clusters;
}

}  // namespace orch
