// Shapes that a job may have, and the GPUs it may run on.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/dtype.h"
#include "base/submit.h"
#include "base/yaml.h"

namespace orch {

struct Gpu {
  std::string name;
  double memory = 0;              ///< bytes that programs can have
  double bandwidth = 0;           ///< bytes/s
  std::map<DType, double> flops;  ///< dense, per second; a dtype that is missing is not computed natively
  double link = 0;                ///< bytes/s to each other GPU of the node, one direction
  double watts = 0;
  std::vector<std::string> slurm_names;  ///< what Slurm's gres calls it: h100, nvidia_h100_80gb_hbm3
  Place source;

  /// Peak for a computation in `dtype`; one that is not native runs as bf16, and that as fp16 or fp32.
  double flops_for(DType dtype) const;
  bool computes(DType dtype) const { return flops.contains(dtype); }
};

/// What kind of work a profile is for. A model takes the profiles of its own kind first, then those for any.
enum class ProfileUse { kAny, kMoe, kMultimodal };
std::string_view name_of(ProfileUse use);

struct Profile {
  std::string name;
  int nodes = 1;
  int gpus_per_node = 1;
  ProfileUse use = ProfileUse::kAny;
  int cpus_per_gpu = 0;
  double memory = 0;          ///< bytes of host memory of a node
  double time_limit = 0;      ///< seconds, at most
  std::string template_name;  ///< of templates/
  std::string description;
  std::string partition;  ///< overrides the cluster's choice; empty: none
  Submit submit;          ///< wins over what the cluster says; the partition is above
  Place source;

  int gpus() const { return nodes * gpus_per_node; }
};

Gpu read_gpu(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics);
Profile read_profile(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch
