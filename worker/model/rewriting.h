// A checkpoint's folder, written once more with other numbers in some of its tensors.
//
// Holds:
//  - The base is only read. The new folder is there whole or not at all: it is written beside as FOLDER.new, synced and
//    renamed.
//  - Numbers of other tensors are the base's, byte for byte; the new ones are rounded once.
//  - Files are as the base's are cut, and written one after another, some rows at a time: memory holds of the base no
//    more than the system likes to keep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "model/checkpoint.h"

namespace orch::model {

struct Rewritten {
  std::vector<std::string> changed;   ///< tensors, by the base's names
  std::size_t tensors = 0;            ///< that the checkpoint has
  std::uint64_t bytes = 0;            ///< of all files
  std::vector<std::string> copied;    ///< files that are the base's own: configuration, tokenizer
  std::vector<std::string> left_out;  ///< of the base's files those that have its weights in another form
};

/// What a tensor gets.
struct NewTensor {
  Stored stored = Stored::kF32;  ///< fp32, bf16, fp16 or fp64
  std::int64_t cols = 1;         ///< numbers are asked for by rows of so many, which its count is a multiple of
  /// `numbers` ← of some rows from `first` on, where the base's stand.
  std::function<Result<std::monostate>(std::int64_t first, std::span<double> numbers)> change{};
};
using NewTensors = std::map<std::string, NewTensor, std::less<>>;  // by the base's names, which it has all

/// How messages call it: 'merged model', 'merged tensors', 'merge'.
struct RewritingWords {
  std::string model, tensors, deed;
};

/// How new numbers are stored; nothing: as the base's.
Result<std::optional<Stored>> stored_as(std::optional<DType> dtype, const RewritingWords& words);
/// `out` as it will be renamed to: new, or an empty folder.
Result<std::filesystem::path> new_folder(const std::filesystem::path& out, const RewritingWords& words);
/// `folder`: of new_folder(). Whether there is room for it is looked at before anything is written.
Result<Rewritten> rewrite(const std::filesystem::path& base, const NewTensors& tensors,
                          const std::filesystem::path& folder, const RewritingWords& words);

}  // namespace orch::model
