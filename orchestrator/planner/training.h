// The settings of training that seeds 003 and 002 give, by model size, task type and hardware, with the reason for
// each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/memory.h"
#include "matrix/expand.h"
#include "planner/sizing.h"

namespace orch::planner {

/// Seed 003's table, one row a size class.
struct LoraDefaults {
  std::int64_t rank;
  std::int64_t alpha;
  double dropout;
  double learning_rate;
  std::int64_t batch_size;
  std::int64_t accumulation;
};
LoraDefaults lora_defaults(SizeClass size);

/// What a task type changes: factors on rank and rate (instruct text +40 % and +20 %, GRPO +60 % and −15 %, image +50 %
/// and +15 %).
struct TaskAdjustment {
  double rank = 1;
  double learning_rate = 1;
};
TaskAdjustment task_adjustment(std::string_view task_type);

/// Completes a train cell's settings: rank (rounded down to a multiple of 8, at least 8; at most half the smaller side
/// of each layer; at most what memory allows on the largest profile), alpha, dropout, rate, batch, accumulation,
/// sequence. A rank that the matrix gives is held to the same bounds. Each change is a sentence.
std::vector<std::string> complete_training(const Model& model, const Task& task, matrix::Settings& settings,
                                           const Site& site);

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
