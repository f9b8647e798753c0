// What each of Slurm's job states means for a job of ours: one row for every base state and every flag.
//
// Holds:
//  - The table is total over what Slurm documents; a state that has no row is 'unknown, still watched', never over.
//  - Only a row of the phase kOver has an end.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "control/event.h"

namespace orch::cluster {

struct SlurmState {
  std::string_view name;  ///< as squeue's %T, sacct's State and scontrol's JobState write it
  control::event::Seen::Phase phase;
  std::optional<control::End> end;  ///< of kOver
  bool flag;                        ///< stands beside a base state, and says more than it
};

std::span<const SlurmState> slurm_states();

struct Meaning {
  control::event::Seen::Phase phase = control::event::Seen::Phase::kUnknown;
  std::optional<control::End> end;
};

/// `RUNNING`, `CANCELLED by 1000`, `PENDING,REQUEUED`: of several, the flag counts, and one unknown makes all unknown.
Meaning meaning_of(std::string_view state);

}  // namespace orch::cluster
