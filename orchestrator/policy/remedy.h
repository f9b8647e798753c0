// What is done about a failure: the next rung of the cause's ladder (docs/policy.md, "Remedies").
//
// Holds:
//  - A remedy that changes what is measured makes another cell, never the same one (makes_another_cell).
//  - A ladder is gone down, never up: the same attempts give the same step, and in the end that is give_up.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"

namespace orch::policy {

inline constexpr std::array kCauses = {Cause::kGpuMemory, Cause::kHostMemory, Cause::kTimeout,  Cause::kNodeFailure,
                                       Cause::kPreempted, Cause::kNan,        Cause::kLostPeer, Cause::kLoadFailed,
                                       Cause::kBadInput,  Cause::kUnknown};
inline constexpr std::array kRemedies = {
    Remedy::kRetry,     Remedy::kSmallerBatch, Remedy::kMoreGpus,   Remedy::kLessTensorMorePipeline,
    Remedy::kInt8,      Remedy::kMoreTime,     Remedy::kMoreMemory, Remedy::kOtherNode,
    Remedy::kLowerRate, Remedy::kOtherEngine,  Remedy::kGiveUp};

std::optional<Cause> cause_named(std::string_view name);
std::optional<Remedy> remedy_named(std::string_view name);

/// The remedies that can help against a cause; give_up is always among them.
std::span<const Remedy> remedies_for(Cause cause);

/// The numbers that a remedy's factor may have; nothing for a remedy that takes none.
struct FactorRange {
  double least = 0;
  double most = 0;
};
std::optional<FactorRange> factor_range(Remedy remedy);

/// Whether the remedy changes the content of a cell, and so its key: dtype, engine, learning rate.
bool makes_another_cell(Remedy remedy);

/// What is known when a job has failed.
struct Attempts {
  std::span<const Remedy> tried;             ///< for this cause and these cells, each as often as it was tried
  std::map<Remedy, std::string> impossible;  ///< here and now, with the reason: `more_gpus` on the largest profile
};

struct Step {
  Remedy remedy = Remedy::kGiveUp;
  int attempt = 1;  ///< of `times`
  int times = 1;
  double factor = 1;                 ///< to be applied once to what the failed attempt had
  bool another_cell = false;         ///< the failed cell stays failed; a substitute is made
  std::vector<std::string> skipped;  ///< rungs that were not possible, with their reasons
  std::string reason;                ///< of this step, as a sentence for `orchctl explain`
};

/// The first rung with attempts left that is possible; give_up when there is none, or no ladder.
Step next_remedy(const Policy& policy, Cause cause, const Attempts& attempts);

}  // namespace orch::policy
