// Where the numbers of one weight stand in a checkpoint: some rows (or columns) of some tensors, one after another.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/checkpoint.h"

namespace orch::model {

/// `count` rows of a tensor from `first` on; of a transposed source they are its columns.
struct Run {
  const Tensor* tensor = nullptr;  ///< null: of zeros, where only the shape counts (shapes_of)
  const Tensor* scales = nullptr;  ///< of a tensor in fp8: one for all, for each row, or for each block of 128 × 128
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::string name{};               ///< of the tensor
  std::int64_t rows = 0, cols = 0;  ///< that the tensor has
};

struct Source {
  std::vector<Run> runs;
  std::int64_t from = 0;  ///< first column of each row (of a transposed source: row of each column)
  std::int64_t cols = 0;
  bool transposed = false;
  std::int64_t all_cols = 0;  ///< of the matrix, where a rank has only some columns of it; else 0

  std::int64_t rows() const;
  bool empty() const { return runs.empty(); }
};

/// Rows [first, first + count) as fp32, one after another. `largest`, where asked for: of each row the largest
/// magnitude of all columns of the matrix, NaN where a number is not finite. Safe from several threads.
void read_rows(const Source& source, std::int64_t first, std::int64_t count, float* out, float* largest = nullptr);
/// A row's numbers where the checkpoint has them one after another in this format, unscaled; else null.
const std::byte* stored_row(const Source& source, std::int64_t row, DType dtype);
/// All of it.
std::vector<float> read_all(const Source& source);

/// Tensors as a checkpoint has them, in fp32, by name.
using Tensors = std::map<std::string, std::vector<float>, std::less<>>;
/// The other way: adds the source's numbers, row by row, to where they came from. Tensors that are not there yet begin
/// with 0.
void put_back(const Source& source, std::span<const float> numbers, Tensors& tensors);

}  // namespace orch::model
