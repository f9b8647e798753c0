// Which profiles the partitions of a site can hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/sizing.h"

namespace orch::planner {

/// A profile on a partition that can hold it.
struct Shape {
  std::uint32_t profile = 0;    ///< index in the catalog
  std::uint32_t partition = 0;  ///< index in the cluster
};

struct Shapes {
  std::vector<Shape> usable;         ///< fewest GPUs first, then in the order of the files
  std::vector<std::string> refused;  ///< `moe on short: 6 GPUs of a node, it has 4`, the first few
};

/// Where a command may run, and what the site says of its container there. Its key must not depend on where it does.
std::vector<matrix::RunPlace> run_places(const Site& site);

/// The matrix's partition, if it names one, is the only one; else the profile's, if it names one.
Shapes shapes_of(const Site& site);

/// How a profile's use suits a model: 0 made for its kind, 1 for any, 2 made for another kind.
int use_rank(const Profile& profile, const Model& model);

/// Why a GPU cannot compute in this dtype without changing the numbers, or nothing. What was to be computed in bf16 is
/// never computed in fp16, and what in fp8 never in bf16.
std::optional<std::string> why_not_computed(const Gpu& gpu, DType compute);

}  // namespace orch::planner
