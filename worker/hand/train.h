// `orch-worker train`: a training by hand.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/ranks.h"
#include "hand/options.h"

namespace orch::hand {

struct Trained {
  nlohmann::ordered_json answer;
  bool is_stopped = false;  ///< by a signal
};

/// `signals`: a signalfd, not blocking, for SIGUSR1, SIGTERM and SIGINT.
Result<Trained> train(const Options& options, const std::filesystem::path& model, const worker::Ranks& ranks,
                      int signals);

}  // namespace orch::hand
