// What a model will take of one rank's memory, before a byte of it is read: its decoder and engine run over the plan
// backend, as they will over a device.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "infer/engine.h"
#include "kernels/plan/backend.h"

namespace orch::infer {

/// What is asked of the engine at once.
struct PlannedTexts {
  std::int64_t count = 1;
  std::int64_t tokens = 4096;  ///< of each: prompt and answer
};

struct MemoryPlan {
  double weights = 0;  ///< bytes
  double cache = 0;
  double steps = 0;  ///< hidden states, workspaces, logits: of the largest steps of scoring and of writing
  std::map<std::string, kernels::PlannedOps, std::less<>> ops;  ///< of scoring the texts, then drawing a token for each
  double total() const { return weights + cache + steps; }
};

/// `rules`: the cache's bytes count only as its bound. An error says why the model cannot be cut so, or that the texts
/// do not fit into the cache.
Result<MemoryPlan> plan_memory(const model::Architecture& architecture, model::Shard shard, model::Formats formats,
                               const EngineRules& rules, const PlannedTexts& texts);

}  // namespace orch::infer
