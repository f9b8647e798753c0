// The settings that a training gets: the policy's table by model size and task type, and seed 002's choices for a GPU,
// with the reason for each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "matrix/expand.h"
#include "planner/sizing.h"

namespace orch::planner {

/// Completes a train cell's settings: rank (rounded down to a multiple of 8, at least 8; at most half the smaller side
/// of each layer; at most what memory allows on the largest profile), alpha, dropout, rate, batch, accumulation,
/// sequence. A rank that the matrix gives is held to the same bounds, and alpha follows from what is left of it. Each
/// change is a sentence.
std::vector<std::string> complete_training(const Model& model, const Task& task, matrix::Settings& settings,
                                           const Site& site);

/// Why the native engine cannot train a model that is cut so, or nothing.
std::optional<std::string> why_native_trains_not(const Model& model, const Layout& layout);

/// Seed 002's choices for a GPU: precision, attention, workers, each with its reason, in that order. Checkpointing
/// depends on the job: size() chooses it.
struct HardwareChoice {
  DType compute = DType::kBf16;
  bool loss_scaling = false;  ///< fp16 only
  bool flash_attention = true;
  int loader_workers = 8;
  std::vector<std::string> reasons;
};
HardwareChoice hardware_choice(const Gpu& gpu);

}  // namespace orch::planner
