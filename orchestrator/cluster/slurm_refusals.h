// Why sbatch took no job, and what that means: never, later, or nobody knows.
//
// Holds: a refusal is a mistake only by words that Slurm uses for mistakes; what is not known is asked again later if
// Slurm surely has no job, and is unclear if it may have one.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "cluster/cluster.h"
#include "cluster/process.h"

namespace orch::cluster {

struct Refusal {
  std::string_view words;  ///< part of what sbatch prints
  control::event::NotSubmitted::Why why;
  std::string_view advice;  ///< ours, after Slurm's words
};

/// In the order in which they are looked for.
std::span<const Refusal> refusals();

/// sbatch ended badly, or its answer could not be read: `failed` says how.
SubmitError refused(const RunError& failed);

/// Whether a command failed for want of a controller, not by what the controller said.
bool nobody_answered(const RunError& failed);

}  // namespace orch::cluster
