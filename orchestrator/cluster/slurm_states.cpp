#include "cluster/slurm_states.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace orch::cluster {
namespace {

using control::End;
using Phase = control::event::Seen::Phase;

constexpr auto kBase = false;
constexpr auto kFlag = true;

// docs/slurm.md has the same rows, and a test holds the two against each other.
constexpr std::array kStates = {
    SlurmState{"PENDING", Phase::kPending, std::nullopt, kBase},
    SlurmState{"RUNNING", Phase::kRunning, std::nullopt, kBase},
    SlurmState{"SUSPENDED", Phase::kRunning, std::nullopt, kBase},
    SlurmState{"COMPLETED", Phase::kOver, End::kDone, kBase},
    SlurmState{"CANCELLED", Phase::kOver, End::kCancelled, kBase},
    // Exit code not 0. An end for lack of GPU memory looks like this too, so it says nothing of the cause.
    SlurmState{"FAILED", Phase::kOver, End::kUnknown, kBase},
    SlurmState{"TIMEOUT", Phase::kOver, End::kTimeout, kBase},
    // Of --deadline, which a site may set: a longer time limit would not help.
    SlurmState{"DEADLINE", Phase::kOver, End::kCancelled, kBase},
    SlurmState{"NODE_FAIL", Phase::kOver, End::kNodeFailure, kBase},
    SlurmState{"BOOT_FAIL", Phase::kOver, End::kNodeFailure, kBase},
    SlurmState{"PREEMPTED", Phase::kOver, End::kPreempted, kBase},
    SlurmState{"OUT_OF_MEMORY", Phase::kOver, End::kHostMemory, kBase},
    // The epilog runs, or processes will not die. How it ended is said once it is over.
    SlurmState{"COMPLETING", Phase::kRunning, std::nullopt, kFlag},
    SlurmState{"STAGE_OUT", Phase::kRunning, std::nullopt, kFlag},
    // Nodes are there and the script has not begun: no worker of this start can be running.
    SlurmState{"CONFIGURING", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"POWER_UP_NODE", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"RESIZING", Phase::kRunning, std::nullopt, kFlag},
    SlurmState{"SIGNALING", Phase::kRunning, std::nullopt, kFlag},
    SlurmState{"STOPPED", Phase::kRunning, std::nullopt, kFlag},
    SlurmState{"EXPEDITING", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"REQUEUED", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"REQUEUE_FED", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"REQUEUE_HOLD", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"SPECIAL_EXIT", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"RESV_DEL_HOLD", Phase::kPending, std::nullopt, kFlag},
    // Slurm requeues the job in both, and holds it if they come again.
    SlurmState{"LAUNCH_FAILED", Phase::kPending, std::nullopt, kFlag},
    SlurmState{"RECONFIG_FAIL", Phase::kPending, std::nullopt, kFlag},
    // A sibling of it goes on in another cluster of the federation: over here, and not over.
    SlurmState{"REVOKED", Phase::kUnknown, std::nullopt, kFlag},
    SlurmState{"UPDATE_DB", Phase::kUnknown, std::nullopt, kFlag},
};

const SlurmState* find(std::string_view name) {
  const auto at = std::ranges::find(kStates, name, &SlurmState::name);
  return at == kStates.end() ? nullptr : &*at;
}

/// `CANCELLED by 1000`: who did it stands in sacct's word for this one state.
std::string_view without_author(std::string_view state) {
  constexpr std::string_view kBy = "CANCELLED by ";
  if (!state.starts_with(kBy)) return state;
  const std::string_view who = state.substr(kBy.size());
  const bool is_number = !who.empty() && std::ranges::all_of(who, [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? state.substr(0, kBy.find(' ')) : state;
}

}  // namespace

std::span<const SlurmState> slurm_states() { return kStates; }

Meaning meaning_of(std::string_view state) {
  const SlurmState* base = nullptr;
  const SlurmState* flag = nullptr;
  for (const std::string_view part : split(state, ',')) {
    const SlurmState* row = find(without_author(part));
    if (!row) return {};
    const SlurmState*& place = row->flag ? flag : base;
    if (!place) place = row;
  }
  const SlurmState* counts = flag ? flag : base;
  return counts ? Meaning{counts->phase, counts->end} : Meaning{};
}

}  // namespace orch::cluster
