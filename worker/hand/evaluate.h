// orch-worker eval: a whole task, or the beginning of one, by hand.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "hand/options.h"
#include "texts/text_engine.h"

namespace orch::hand {

/// Called by the first rank, while the others follow.
Result<nlohmann::ordered_json> evaluate(const Options& options, texts::TextEngine& engine,
                                        const std::filesystem::path& model, const std::filesystem::path& program);

}  // namespace orch::hand
