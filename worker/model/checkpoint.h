// The weights of a model's folder, whatever number of files they are in, read as fp32 row by row.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/safetensors.h"

namespace orch::model {

/// A tensor of numbers as a matrix: the first dimension (or more of them, as the reader likes) are rows.
class Checkpoint {
 public:
  /// model.safetensors, or what model.safetensors.index.json names.
  static Result<Checkpoint> open(const std::filesystem::path& folder);

  bool has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  /// Null where there is none.
  const Tensor* find(std::string_view name) const;
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  /// As FileMap::forget().
  void forget() const {
    for (const Safetensors& file : files_) file.forget();
  }

 private:
  std::vector<Safetensors> files_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

/// `count` numbers of a tensor from number `from` on, as they are stored.
void read_numbers(const Tensor& tensor, std::int64_t from, std::int64_t count, float* out);

}  // namespace orch::model
