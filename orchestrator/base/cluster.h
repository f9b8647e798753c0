// A cluster as a site describes it: partitions with their limits, and how jobs are asked for.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/submit.h"
#include "base/yaml.h"

namespace orch {

struct Catalog;

enum class GpuRequest { kGres, kGpusPerNode };

struct Partition {
  std::string name;
  std::string gpu;  ///< name of a catalog GPU
  int nodes = 0;
  int gpus_per_node = 0;
  int cpus_per_node = 0;
  double memory_per_node = 0;  ///< bytes
  double max_time = 0;         ///< seconds; 0: no limit
  int max_nodes = 0;           ///< of a job; 0: all
  bool exclusive = false;      ///< a job takes whole nodes, used or not
  bool shares_gpus = false;    ///< parts of a GPU can be had (MPS or shards)
  double network = 0;          ///< bytes/s of a node to another; 0: taken as 25 GB/s
  double load_bandwidth = 0;   ///< bytes/s a node reads weights with; 0: taken as 2 GB/s
  Submit submit;
  Place source;
};

struct Cluster {
  std::string name;
  GpuRequest request = GpuRequest::kGres;
  std::string gres_name = "gpu";  ///< `gpu` in --gres=gpu:h100:4
  bool gres_typed = true;         ///< whether the type is named
  std::vector<Partition> partitions;
  Submit submit;
  Place source;

  const Partition* find(const std::string& partition) const;
};

/// The clusters of one file: `clusters:` with several, or `cluster:` with one.
std::vector<Cluster> read_clusters(const Yaml& root, const std::string& file, const Catalog& catalog,
                                   Diagnostics& diagnostics);

}  // namespace orch
