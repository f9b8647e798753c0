// What an op reads and writes, taken apart: for backends that watch ops rather than carry them out.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/backend.h"

namespace orch::kernels {

enum class Use : std::uint8_t {
  kRead,
  kWritten,  ///< whole, whatever stood there
  kChanged,  ///< read, and written in part or whole
};

/// Rows of bytes in a backend's memory.
struct Operand {
  Use use = Use::kRead;
  std::byte* data = nullptr;
  std::size_t row = 0;     ///< bytes
  std::size_t rows = 0;    ///< at least 1
  std::size_t stride = 0;  ///< bytes from a row to the next

  /// From the first byte to the last, what stands between the rows included.
  std::size_t extent() const { return (rows - 1) * stride + row; }
  std::size_t bytes() const { return rows * row; }
};

struct Operands {
  std::vector<Operand> memory;  ///< none empty
  // Members of the op that point to the host's memory.
  std::vector<const Weight**> weights;
  std::vector<Weight**> changed_weights;
  std::vector<const Norm**> norms;
};

// `backend` knows how large pages are. An op of no rows has no outputs.
Operands operands_of(const Backend& backend, Embed& op);
Operands operands_of(const Backend& backend, AddNorm& op);
Operands operands_of(const Backend& backend, Linear& op);
Operands operands_of(const Backend& backend, HeadLinear& op);
Operands operands_of(const Backend& backend, Rotary& op);
Operands operands_of(const Backend& backend, LatentRotary& op);
Operands operands_of(const Backend& backend, Attention& op);
Operands operands_of(const Backend& backend, Route& op);
Operands operands_of(const Backend& backend, Experts& op);
Operands operands_of(const Backend& backend, RoutedLinear& op);
Operands operands_of(const Backend& backend, Mix& op);
Operands operands_of(const Backend& backend, Gather& op);
Operands operands_of(const Backend& backend, Score& op);
Operands operands_of(const Backend& backend, CombineScores& op);
Operands operands_of(const Backend& backend, Sample& op);
Operands operands_of(const Backend& backend, Activate& op);
Operands operands_of(const Backend& backend, ActivateBack& op);
Operands operands_of(const Backend& backend, LinearBack& op);
Operands operands_of(const Backend& backend, HeadLinearBack& op);
Operands operands_of(const Backend& backend, WeightGradient& op);
Operands operands_of(const Backend& backend, RowSum& op);
Operands operands_of(const Backend& backend, NormBack& op);
Operands operands_of(const Backend& backend, RotaryBack& op);
Operands operands_of(const Backend& backend, LatentRotaryBack& op);
Operands operands_of(const Backend& backend, AttentionBack& op);
Operands operands_of(const Backend& backend, RouteBack& op);
Operands operands_of(const Backend& backend, ExpertsBack& op);
Operands operands_of(const Backend& backend, RoutedLinearBack& op);
Operands operands_of(const Backend& backend, RoutedGradient& op);
Operands operands_of(const Backend& backend, Weigh& op);
Operands operands_of(const Backend& backend, EmbedBack& op);
Operands operands_of(const Backend& backend, ScoreBack& op);
Operands operands_of(const Backend& backend, Scatter& op);
Operands operands_of(const Backend& backend, Dropout& op);
Operands operands_of(const Backend& backend, Copy& op);
Operands operands_of(const Backend& backend, Repack& op);
Operands operands_of(const Backend& backend, AdamW& op);
Operands operands_of(const Backend& backend, Blend& op);
Operands operands_of(const Backend& backend, SquareSum& op);

}  // namespace orch::kernels
