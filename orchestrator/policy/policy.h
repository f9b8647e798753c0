// A policy: what matters, what is accepted, what limits hold, what is done about failures (docs/policy.md).
//
// Holds:
//  - Every number that read_policy() gives was in the file, but for the thresholds of `planning` that it marks as
//    optional and for `training`: what a file leaves out of these is as below, which is what policies/default.yaml
//    says. The other values below are those of a policy that code makes, as tests do.
//  - What read_policy() gives is safe to compute with: finite and in range, the weights sum to 1, each ladder ends in
//    give_up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/model.h"
#include "base/yaml.h"
#include "policy/zone.h"

namespace orch::policy {

/// The six terms of seed 003's formula, in its order.
enum class Term { kTaskWeight, kModelPerformance, kSuccessRate, kTimeEfficiency, kSizeEfficiency, kHardwareBonus };
inline constexpr std::size_t kTerms = 6;
inline constexpr std::array<std::string_view, kTerms> kTermNames = {
    "task_weight", "model_performance", "success_rate", "time_efficiency", "size_efficiency", "hardware_bonus"};

struct Acceptance {
  std::vector<std::string> task_types;  ///< empty: every type
  std::vector<std::string> families;    ///< empty: every family
  std::optional<double> max_duration;   ///< seconds, of one cell; accepted if shorter
  std::optional<double> min_score;      ///< accepted if above
};

struct Limits {
  std::optional<int> max_jobs;      ///< at once
  std::optional<int> max_gpus;      ///< at once, over all jobs, those included that wait in Slurm's queue
  std::optional<double> gpu_hours;  ///< soft: what would exceed it waits
  Period per = Period::kEver;       ///< of `gpu_hours`: it is renewed so often
  std::optional<int> max_queued;    ///< jobs in Slurm's queue
};

/// Causes that are told apart at a job's end.
enum class Cause {
  kGpuMemory,
  kHostMemory,
  kTimeout,
  kNodeFailure,
  kPreempted,
  kNan,
  kLostPeer,
  kLoadFailed,
  kBadInput,
  kUnknown
};
std::string_view name_of(Cause cause);

enum class Remedy {
  kRetry,
  kSmallerBatch,
  kMoreGpus,
  kLessTensorMorePipeline,
  kInt8,
  kMoreTime,
  kMoreMemory,
  kOtherNode,
  kLowerRate,
  kOtherEngine,
  kGiveUp
};
std::string_view name_of(Remedy remedy);

/// One step of a ladder: the remedy, and how often it may be tried.
struct Rung {
  Remedy remedy = Remedy::kRetry;
  int times = 1;
  double factor = 1;  ///< of kSmallerBatch, kMoreTime, kMoreMemory, kLowerRate
};

struct Tournament {
  double text_weight = 0.60;
  double image_weight = 0.40;
  double bonus_per_entry = 0.05;  ///< of the previous winner
  double bonus_most = 0.25;
  double boss_margin = 0.08;  ///< by which the boss is to be beaten
  int best_of = 3;
};

/// What the planner prefers.
struct Planning {
  enum class Prefer { kSmallest, kFastest } prefer = Prefer::kSmallest;
  double memory_low = 0.75;    ///< of a GPU: target, from …
  double memory_high = 0.85;   ///< … to
  double memory_most = 0.90;   ///< never above
  double speedup_worth = 0.6;  ///< kFastest: a larger profile is taken if each doubling of GPUs gives at least 1 + this
  double time_quantile = 0.95;  ///< of learned durations
  double time_margin = 1.3;     ///< on an estimate without history
  double time_least = 600;      ///< seconds: the shortest limit asked for
  double backfill = 4 * 3600;   ///< seconds: jobs are cut to about this length, so that they fill gaps
  // Optional in a file.
  double piece_least = 60;        ///< seconds: idle GPUs do not make jobs shorter than this
  double load_worth = 0.20;       ///< a load is repeated where it takes at most this share of the piece that it begins
  double idle_load_worth = 0.35;  ///< the same where GPUs are idle whatever is done
  double idle_worth = 0.05;       ///< models share a job's GPUs where at most this share of their time is spent waiting
  int small_gpus = 2;             ///< most GPUs of a model that shares a job; of whole nodes any model may
  int batch_least = 8;            ///< a placement with room for fewer sequences is cramped
  double rate_least = 10;         ///< tokens/s of a sequence, below which a placement is cramped
  double efficiency_worth = 1.5;  ///< how much more each GPU of a larger placement does for it to replace a cramped one
  double own_use_worth = 2;       ///< a profile of the model's own kind is taken below this many times the GPUs
  double command_time = 3600;     ///< seconds that a command may take which does not say its time
};

/// How long files of a job are kept after its end, in seconds; nothing: for ever.
struct Retention {
  std::optional<double> logs;     ///< what jobs and programs printed
  std::optional<double> spools;   ///< what workers wrote down until the daemon had it, and messages in files
  std::optional<double> samples;  ///< all else that cells left in their folders
  /// What trainings kept to go on from, once no attempt goes on from it; at the latest what `samples` says.
  std::optional<double> checkpoints{};
};

/// What an adapter's training gets where its matrix says nothing.
struct AdapterRow {
  std::int64_t rank = 0;
  std::int64_t alpha = 0;
  double dropout = 0;
  double learning_rate = 0;
  std::int64_t batch_size = 0;
  std::int64_t accumulation = 0;
};

/// Factors of a task type on its row.
struct AdapterFactors {
  double rank = 1;
  double learning_rate = 1;
};

/// Settings that trainings get: seed 003's table and adjustments. A file may leave all of it out.
struct Training {
  /// By size class.
  std::array<AdapterRow, 4> sizes = {{{256, 64, 0.05, 4e-4, 16, 1},
                                      {512, 128, 0.1, 3e-4, 8, 2},
                                      {1024, 256, 0.15, 2e-4, 4, 4},
                                      {2048, 512, 0.2, 1e-4, 2, 8}}};
  /// By task type; of others both factors are 1.
  std::map<std::string, AdapterFactors, std::less<>> tasks = {
      {"grpo", {1.60, 0.85}}, {"image", {1.50, 1.15}}, {"instruct_text", {1.40, 1.20}}};
  double full_rate = 0.1;        ///< rate of training every parameter, of the adapters'; ours, the seeds have none
  std::int64_t sequence = 8192;  ///< longest sample in tokens, at most the model's context
  double ema_decay = 0.9999;     ///< of the average of the weights

  const AdapterRow& row(SizeClass size) const { return sizes[static_cast<std::size_t>(size)]; }
  AdapterFactors factors(std::string_view task_type) const {
    const auto at = tasks.find(task_type);
    return at == tasks.end() ? AdapterFactors{} : at->second;
  }
};
inline constexpr std::array<SizeClass, 4> kSizeClasses = {SizeClass::kSmall, SizeClass::kMedium, SizeClass::kLarge,
                                                          SizeClass::kXLarge};

struct Policy {
  std::string name;
  std::string description;
  std::array<double, kTerms> weights{};                   ///< sum to 1
  std::map<std::string, double, std::less<>> task_types;  ///< type → weight in [0, 1]
  double other_task_type = 0;
  std::map<std::string, double, std::less<>> families;  ///< family → rating in [0, 1]
  double other_family = 0;
  /// `family` or `family/type` → prior of its success; absent: the family's rating.
  std::map<std::string, double, std::less<>> success_priors;
  double prior_strength = 10;       ///< attempts that the prior counts as
  double time_horizon = 20 * 3600;  ///< seconds at which time efficiency is 0
  Acceptance acceptance;
  Limits per_user, per_sweep;
  Zone zone;  ///< in which days, weeks and months of budgets begin
  Retention retention;
  double ageing_per_day = 0.05;  ///< added to the rank, not to the score, for each day of waiting
  double ageing_most = 0.5;
  std::map<Cause, std::vector<Rung>> remedies;
  std::optional<Tournament> tournament;
  Planning planning;
  Training training;
  double drain_signal = 120;  ///< seconds before the limit at which a job stops leasing
  double idle_timeout = 60;   ///< seconds after which a worker with nothing to do gives its GPUs back; optional
  Place source;
};

/// Reads and checks a policy file; nothing is returned when there was an error. Warns of what is legal and hardly
/// meant: a score that nothing can reach, an ageing of 0.
std::optional<Policy> read_policy(const Yaml& root, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch::policy
