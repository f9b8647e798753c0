// An adapter put into the weights that it changes: a checkpoint for engines that know no adapters.
//
// A module P of the adapter is the base's tensor P.weight, so that names and shapes are enough: what the decoder cannot
// adapt (kv_b_proj, single experts) can be merged.
//
// Holds:
//  - The base is only read. The new folder is there whole or not at all: it is written beside as FOLDER.new, synced and
//    renamed.
//  - What can be known beforehand (names, shapes, formats, room on the disk) is checked before anything is written.
//  - Numbers of other tensors are the base's, byte for byte; the new ones are W + scale · B · A, summed in double over
//    the rank in order, and rounded once.
//  - Files are as the base's are cut, and written one after another, some rows at a time: memory holds the adapter, and
//    of the base no more than the system likes to keep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"

namespace orch::model {

struct Merged {
  std::vector<std::string> changed;   ///< tensors, by the base's names
  std::size_t tensors = 0;            ///< that the checkpoint has
  std::uint64_t bytes = 0;            ///< of all files
  std::vector<std::string> copied;    ///< files that are the base's own: configuration, tokenizer
  std::vector<std::string> left_out;  ///< of the base's files those that have its weights in another form
};

/// `dtype`: how the tensors that change are stored (fp32, bf16 or fp16); nothing: as they were. `out` must be new, or
/// an empty folder.
Result<Merged> merge_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                             const std::filesystem::path& out, std::optional<DType> dtype = {});

}  // namespace orch::model
