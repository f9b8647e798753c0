// Whether the weights are there that a plan's jobs would load: said before anything is submitted, because a job that
// finds none has waited in the queue for nothing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "inputs/inputs.h"

namespace orch::inputs {

/// A sentence for each model of the plan's cells that is not whole in the hub's cache, gated ones first. The cache is
/// where the cells' variables say (HF_HUB_CACHE, HF_HOME), else at `root`. Of commands nothing is said: only they know
/// what they load.
std::vector<std::string> missing_weights(const Planned& planned, const std::filesystem::path& root);

}  // namespace orch::inputs
