// The priority of a cell: six weighted terms that sum to the total, each from an input in [0, 1] (docs/policy.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "policy/policy.h"

namespace orch::policy {

/// What has been measured of earlier cells of this task type and family.
struct Evidence {
  std::int64_t succeeded = 0;
  std::int64_t failed = 0;
};

struct ScoreInput {
  std::string_view task_type;
  std::string_view family;
  double seconds = 0;      ///< estimated duration of the cell in its job
  double utilisation = 0;  ///< of GPU memory, by the plan, 0 to 1
  int gpus = 1;            ///< of the job's placement
  int node_gpus = 8;
  bool native_dtype = true;  ///< the GPU computes in the cell's dtype
  bool top_gpu = false;      ///< the fastest kind of GPU of the cluster
  Evidence evidence;
};

struct Score {
  double total = 0;
  std::array<double, kTerms> terms{};  ///< weighted; they sum to total
};

/// The unweighted inputs, each in [0, 1].
std::array<double, kTerms> term_inputs(const Policy& policy, const ScoreInput& input);
Score score(const Policy& policy, const ScoreInput& input);

/// The most that any accepted cell can score: below 1, because the weight of a task type is taken as it is.
double greatest_total(const Policy& policy);

/// Where a cell stands in the order: its score and what waiting adds.
double rank(const Policy& policy, double score, double waited_seconds);

struct Refusal {
  std::string rule;  ///< acceptance.task_type | acceptance.family | acceptance.duration | acceptance.score
  std::string reason;
};
/// Why the policy does not accept the cell, or nothing. The first rule that refuses, in the order above. Exactly at a
/// bound is refused; totals within 1e-12 of the bound count as at it, because sums of decimals are rounded.
std::optional<Refusal> refuse(const Policy& policy, const ScoreInput& input, double total);

}  // namespace orch::policy
