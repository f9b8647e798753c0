// A run's state as checkpoints have it, and back: its matrices in full, so that ranks of another layout can go on with
// it, and all else as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "train/checkpoint.h"
#include "train/gathering.h"

namespace orch::tuning {

/// What a run goes on with beside its state.
struct KeptRun {
  nlohmann::json identity;    ///< of which training it is: what another must have in common with it
  train::LearnerBounds pass;  ///< how its passes were cut, since other cuts have other last bits
  std::int64_t tensor = 1;    ///< and its ranks, for the same reason
  std::int64_t copies = 1;
  double seconds = 0;       ///< of work
  std::int64_t tokens = 0;  ///< that were learnt from
};

/// A checkpoint's `run`.
nlohmann::json json_of(const KeptRun& kept, const train::RunState& state);
struct ReadRun {
  KeptRun kept;
  train::RunState state;  ///< without its rows
};
Result<ReadRun> read_run(const train::CheckpointState& from);

}  // namespace orch::tuning
