// An adapter put into the weights that it changes: a checkpoint for engines that know no adapters.
//
// A module P of the adapter is the base's tensor P.weight, so that names and shapes are enough. A stack of experts is
// the tensors of each of them.
//
// Holds:
//  - What holds of a folder that is written once more (model/rewriting.h).
//  - What can be known beforehand (names, shapes, formats, room on the disk) is checked before anything is written.
//  - New numbers are W + scale · B · A, summed in double over the rank in order, and rounded once.
#pragma once

#include <filesystem>
#include <optional>

#include "model/rewriting.h"

namespace orch::model {

using Merged = Rewritten;

/// `dtype`: how the tensors that change are stored (fp32, bf16 or fp16); nothing: as they were. `out` must be new, or
/// an empty folder.
Result<Merged> merge_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                             const std::filesystem::path& out, std::optional<DType> dtype = {});

}  // namespace orch::model
