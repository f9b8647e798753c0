// A model that was trained in full, written as a folder that can be loaded as one: the base's, with new numbers.
//
// Holds:
//  - What holds of a folder that is written once more (model/rewriting.h).
//  - All of the model's parameters are new, or nothing is written. A tied head stays the embedding, also where the
//    base has it as a tensor of its own.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "model/rewriting.h"
#include "model/sources.h"

namespace orch::model {

/// Whole matrices as the checkpoint has them, by its names.
using WholeTensors = std::map<std::string, std::span<const float>, std::less<>>;

/// `dtype`: how they are stored (fp32, bf16 or fp16); nothing: as the base's. `out` must be new, or an empty folder.
Result<Rewritten> write_trained(const std::filesystem::path& base, const WholeTensors& trained,
                                const std::filesystem::path& out, std::optional<DType> dtype = {});

/// Whether it could be written: what would be trained in vain is better refused before.
Result<bool> check_trainable(const Architecture& architecture, const Sources& sources);

}  // namespace orch::model
