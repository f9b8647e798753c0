// One model over several ranks, each a thread with a backend of its own.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "infer/engine.h"

namespace orch::infer {

struct RanksOptions {
  int tensor = 1, pipeline = 1;
  model::Formats formats = DType::kFp32;
  EngineRules rules;
  std::size_t memory = 0;           ///< bytes of each rank's backend; 0: no limit
  int short_rank = -1;              ///< that alone has `memory`; -1: all
  int threads = 1;                  ///< of each backend
  std::filesystem::path adapter{};  ///< as PEFT writes it; empty: none
  /// Each rank's backend is a fake device with this seed (and its rank's number); none: the CPU.
  std::optional<std::uint64_t> fake;
};

/// Calls `work` on every rank, at the same time. Throws what went wrong while the model was loaded, as a text.
void on_ranks(const std::filesystem::path& folder, const RanksOptions& options,
              const std::function<void(int rank, Engine& engine)>& work);

}  // namespace orch::infer
