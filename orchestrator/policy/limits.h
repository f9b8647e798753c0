// What has to wait because of a limit, and why. Limits never refuse a job: what exceeds one waits.
//
// Holds:
//  - Jobs are decided in the order given, which is their priority; what a job depends on is decided at that job's turn.
//  - A smaller job may pass one that the budget holds back, so that a budget does not lie unused because one job is too
//    large for what is left. It takes nothing from the jobs before it, which were decided first.
//  - What depends on a job that waits, waits too.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"

namespace orch::policy {

/// What one planned job would take.
struct Demand {
  std::string id;
  int gpus = 1;
  double gpu_hours = 0;
  std::vector<std::uint32_t> after;  ///< jobs (indices) that must have ended well before it starts
};

/// For each job the reason for which it waits, or nothing when it may go. `whose` limits they are: `the sweep`, `user
/// mara`.
std::vector<std::optional<std::string>> hold_back(std::span<const Demand> jobs, const Limits& limits,
                                                  double used_gpu_hours, std::string_view whose = "the sweep");

/// Why `more` GPU-hours cannot be begun where `used` are used or promised, or nothing.
std::optional<std::string> over_budget(const Limits& limits, double used, double more, std::string_view whose);

/// `412 of 500 GPU-hours today`: how much of the budget, which is there, is used.
std::string used_of_budget(const Limits& limits, double used);

/// What runs or stands in Slurm's queue now.
struct InUse {
  int jobs = 0;    ///< running or queued
  int gpus = 0;    ///< of both: what is queued may start at any moment
  int queued = 0;  ///< in Slurm's queue, not yet running
};

/// Why one more job of `gpus` GPUs cannot be submitted now, or nothing. The limits that end by themselves, as jobs end.
std::optional<std::string> not_now(const Limits& limits, const InUse& now, int gpus,
                                   std::string_view whose = "the sweep");

}  // namespace orch::policy
