#include "policy/remedy.h"

#include <algorithm>

namespace orch::policy {
namespace {

using enum Remedy;

// One row a cause. A retry of what would fail again in the same way (memory, bad input) is left out, and so is whatever
// does not touch the cause. int8 shrinks weights: it is for what does not fit. A learning rate is lowered only for NaN.
constexpr std::array kForGpuMemory = {kSmallerBatch, kMoreGpus, kLessTensorMorePipeline, kInt8, kOtherNode,
                                      kOtherEngine,  kGiveUp};
constexpr std::array kForHostMemory = {kMoreMemory, kOtherNode, kOtherEngine, kGiveUp};
constexpr std::array kForTimeout = {kRetry, kMoreGpus, kLessTensorMorePipeline, kMoreTime, kOtherNode, kGiveUp};
constexpr std::array kForNodeFailure = {kRetry, kOtherNode, kGiveUp};
constexpr std::array kForPreempted = {kRetry, kOtherNode, kGiveUp};
constexpr std::array kForNan = {kRetry, kOtherNode, kLowerRate, kOtherEngine, kGiveUp};
constexpr std::array kForLostPeer = {kRetry, kLessTensorMorePipeline, kOtherNode, kGiveUp};
constexpr std::array kForLoadFailed = {kRetry, kMoreGpus, kInt8, kMoreMemory, kOtherNode, kOtherEngine, kGiveUp};
constexpr std::array kForBadInput = {kGiveUp};
constexpr std::array kForUnknown = {kRetry, kOtherNode, kGiveUp};

/// What a step means, for a person.
std::string_view meaning(Remedy remedy) {
  switch (remedy) {
    case kRetry:
      return "the same again; results that were delivered are kept";
    case kSmallerBatch:
      return "fewer sequences at once; a training run accumulates more steps, so its global batch is the same";
    case kMoreGpus:
      return "the next larger profile";
    case kLessTensorMorePipeline:
      return "half the tensor parallelism, twice the pipeline stages";
    case kInt8:
      return "weights in 8 bits: another cell, shown as a substitute";
    case kMoreTime:
      return "a longer time limit, at most the partition's";
    case kMoreMemory:
      return "more host memory, at most the node's";
    case kOtherNode:
      return "the node is excluded";
    case kLowerRate:
      return "a lower learning rate: another cell, shown as a substitute";
    case kOtherEngine:
      return "the model's next engine: another cell, shown as a substitute";
    case kGiveUp:
      break;
  }
  return "the cells have failed";
}

}  // namespace

std::string_view name_of(Cause cause) {
  switch (cause) {
    case Cause::kGpuMemory:
      return "gpu_memory";
    case Cause::kHostMemory:
      return "host_memory";
    case Cause::kTimeout:
      return "timeout";
    case Cause::kNodeFailure:
      return "node_failure";
    case Cause::kPreempted:
      return "preempted";
    case Cause::kNan:
      return "nan";
    case Cause::kLostPeer:
      return "lost_peer";
    case Cause::kLoadFailed:
      return "load_failed";
    case Cause::kBadInput:
      return "bad_input";
    case Cause::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view name_of(Remedy remedy) {
  switch (remedy) {
    case kRetry:
      return "retry";
    case kSmallerBatch:
      return "smaller_batch";
    case kMoreGpus:
      return "more_gpus";
    case kLessTensorMorePipeline:
      return "less_tensor_more_pipeline";
    case kInt8:
      return "int8";
    case kMoreTime:
      return "more_time";
    case kMoreMemory:
      return "more_memory";
    case kOtherNode:
      return "other_node";
    case kLowerRate:
      return "lower_rate";
    case kOtherEngine:
      return "other_engine";
    case kGiveUp:
      break;
  }
  return "give_up";
}

std::optional<Cause> cause_named(std::string_view name) {
  for (Cause cause : kCauses)
    if (name_of(cause) == name) return cause;
  return std::nullopt;
}

std::optional<Remedy> remedy_named(std::string_view name) {
  for (Remedy remedy : kRemedies)
    if (name_of(remedy) == name) return remedy;
  return std::nullopt;
}

std::span<const Remedy> remedies_for(Cause cause) {
  switch (cause) {
    case Cause::kGpuMemory:
      return kForGpuMemory;
    case Cause::kHostMemory:
      return kForHostMemory;
    case Cause::kTimeout:
      return kForTimeout;
    case Cause::kNodeFailure:
      return kForNodeFailure;
    case Cause::kPreempted:
      return kForPreempted;
    case Cause::kNan:
      return kForNan;
    case Cause::kLostPeer:
      return kForLostPeer;
    case Cause::kLoadFailed:
      return kForLoadFailed;
    case Cause::kBadInput:
      return kForBadInput;
    case Cause::kUnknown:
      break;
  }
  return kForUnknown;
}

std::optional<FactorRange> factor_range(Remedy remedy) {
  switch (remedy) {
    case kSmallerBatch:
    case kLowerRate:
      return FactorRange{0.01, 0.99};
    case kMoreTime:
    case kMoreMemory:
      return FactorRange{1.01, 10};
    default:
      return std::nullopt;
  }
}

bool makes_another_cell(Remedy remedy) { return remedy == kInt8 || remedy == kLowerRate || remedy == kOtherEngine; }

Step next_remedy(const Policy& policy, Cause cause, const Attempts& attempts) {
  Step step;
  const auto ladder = policy.remedies.find(cause);
  if (ladder == policy.remedies.end()) {
    step.reason = "give_up: the policy has no ladder for " + std::string(name_of(cause));
    return step;
  }
  for (const Rung& rung : ladder->second) {
    const std::string name(name_of(rung.remedy));
    if (rung.remedy == kGiveUp) break;
    const auto tried = std::ranges::count(attempts.tried, rung.remedy);
    if (tried >= rung.times) continue;
    if (const auto why = attempts.impossible.find(rung.remedy); why != attempts.impossible.end()) {
      step.skipped.push_back(name + ": " + why->second);
      continue;
    }
    step.remedy = rung.remedy;
    step.attempt = static_cast<int>(tried) + 1;
    step.times = rung.times;
    step.factor = rung.factor;
    step.another_cell = makes_another_cell(rung.remedy);
    step.reason = name + " (" + std::to_string(step.attempt) + " of " + std::to_string(step.times) + ") for " +
                  std::string(name_of(cause)) + ": " + std::string(meaning(rung.remedy));
    return step;
  }
  step.reason =
      "give_up: no other remedy for " + std::string(name_of(cause)) + " is left; " + std::string(meaning(kGiveUp));
  return step;
}

}  // namespace orch::policy
