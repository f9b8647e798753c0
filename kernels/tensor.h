// What ops work on: views of memory that a backend gave. A view owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace orch::kernels {

/// Rows of a matrix in a backend's memory. A host program must not look behind `data` (see Backend::download).
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kFp32;  ///< fp32, bf16, fp16, or fp8 for KV caches
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  ///< elements from a row to the next; at least cols

  explicit operator bool() const { return data != nullptr; }
};

/// 32-bit integers in a backend's memory.
struct Ints {
  std::int32_t* data = nullptr;
  std::int64_t size = 0;

  explicit operator bool() const { return data != nullptr; }
};

constexpr std::size_t row_bytes(const Matrix& matrix) {
  return static_cast<std::size_t>(static_cast<double>(matrix.cols) * bytes_of(matrix.dtype));
}

/// Columns [from, from + count) of every row.
constexpr Matrix columns(Matrix matrix, std::int64_t from, std::int64_t count) {
  const auto offset = static_cast<std::size_t>(static_cast<double>(from) * bytes_of(matrix.dtype));
  matrix.data = static_cast<std::byte*>(matrix.data) + offset;
  matrix.cols = count;
  return matrix;
}

/// Rows [from, from + count).
constexpr Matrix rows(Matrix matrix, std::int64_t from, std::int64_t count) {
  const auto offset = static_cast<std::size_t>(static_cast<double>(from * matrix.stride) * bytes_of(matrix.dtype));
  matrix.data = static_cast<std::byte*>(matrix.data) + offset;
  matrix.rows = count;
  return matrix;
}

/// The first `cols` numbers of every row, where rows stand without gaps: of memory for at least as wide ones.
constexpr Matrix tight(Matrix matrix, std::int64_t cols) {
  matrix.cols = matrix.stride = cols;
  return matrix;
}

/// Each of a row's `count` heads as a row of its own. Of rows without gaps, as tight() has them.
constexpr Matrix by_head(Matrix matrix, std::int64_t count) {
  matrix.rows *= count;
  matrix.cols /= count;
  matrix.stride = matrix.cols;
  return matrix;
}

/// Tokens of a page of the KV cache.
inline constexpr int kPageTokens = 16;

/// One layer's part of a KV cache: pages of kPageTokens tokens, each laid out as its backend likes.
struct KvShape {
  int heads = 1;
  int key_dim = 0;
  int value_dim = 0;            ///< at most key_dim
  bool values_in_keys = false;  ///< a value is the first value_dim components of its key (latent attention)
  DType dtype = DType::kFp32;   ///< fp8 has a scale for each token and head
};
struct KvCache {
  KvShape shape;
  void* data = nullptr;
  std::int64_t pages = 0;
};

/// Where the tokens of some sequences lie. Sequence s has the rows starts[s] … starts[s + 1] - 1 of the step's
/// matrices; its last row is its token number lengths[s] - 1. Its KV cache is the pages of row s of `table`, in the
/// order of positions: triples (page, first slot, count). Pages of several sequences may be the same: that is how a
/// prefix is shared, whatever its length.
struct Sequences {
  Ints starts;   ///< count + 1
  Ints lengths;  ///< count; tokens, those of this step included
  Ints table;    ///< count × width × 3; entries behind a sequence's length are not looked at
  std::int64_t count = 0;
  std::int64_t width = 0;     ///< triples a sequence
  std::int64_t max_rows = 0;  ///< no sequence has more rows in this step
  std::int64_t max_length = 0;
};

}  // namespace orch::kernels
