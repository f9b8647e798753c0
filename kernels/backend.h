// A place that computes: the CPU, a GPU, a plan of one, or a fake of one. Several may live in one process.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/gradients.h"

namespace orch::kernels {

/// Work in order. Streams of one backend run beside each other. Waited for before it is given up.
class Stream {
 public:
  virtual ~Stream() = default;
};

/// Memory of a backend, freed with this. Never before the streams that use it have come past their last use.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data = nullptr;
  std::size_t bytes = 0;
};

/// What is to be packed.
struct WeightShape {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t count = 1;      ///< of a stack
  DType dtype = DType::kFp32;  ///< in which it is kept: fp32, bf16, fp16, int8 (a scale a row)
  bool gated = false;          ///< the first half of the rows are gates, the second what they let through
  bool looked_up = false;      ///< rows are looked up one by one (Embed)
};

/// Where the numbers of a weight come from. Asked by several threads at once.
class RowReader {
 public:
  virtual ~RowReader() = default;
  /// Writes rows [first, first + rows) of matrix `index` of the stack as fp32, cols a row. `largest`, asked for where
  /// rows are kept in int8: of each row the largest magnitude, NaN where a number is not finite; where a rank has a
  /// part of a row's numbers, of all of them.
  virtual void read(std::int64_t index, std::int64_t first, std::int64_t rows, float* out, float* largest) const = 0;
  /// A row's cols numbers, where they stand one after another in this very format; else null. At any address.
  virtual const std::byte* stored(std::int64_t index, std::int64_t row, DType dtype) const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // Memory. What does not fit is an expected error.
  virtual Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes, std::string_view what) = 0;
  virtual Result<std::unique_ptr<Weight>> pack(const WeightShape& shape, const RowReader& read,
                                               std::string_view what) = 0;
  virtual std::size_t page_bytes(const KvShape& shape) const = 0;
  virtual std::unique_ptr<Stream> make_stream() = 0;

  /// `host` must stay as it is until the stream has come past this.
  virtual void upload(Stream& stream, void* to, const void* host, std::size_t bytes) = 0;
  virtual void download(Stream& stream, void* host, const void* from, std::size_t bytes) = 0;
  virtual void clear(Stream& stream, void* what, std::size_t bytes) = 0;
  /// Until all that was enqueued is done. An error is the first of the ops since the last wait.
  virtual Result<bool> wait(Stream& stream) = 0;

  // Bytes of scratch that an op of this shape wants; views without data will do.
  virtual std::size_t scratch(const Attention& op) const = 0;
  virtual std::size_t scratch(const Experts& op) const = 0;
  virtual std::size_t scratch(const RoutedLinear& op) const = 0;
  virtual std::size_t scratch(const Score& op) const = 0;
  virtual std::size_t scratch(const Sample& op) const = 0;
  virtual std::size_t scratch(const NormBack& op) const = 0;
  virtual std::size_t scratch(const AttentionBack& op) const = 0;
  virtual std::size_t scratch(const ExpertsBack& op) const = 0;
  virtual std::size_t scratch(const RoutedLinearBack& op) const = 0;
  virtual std::size_t scratch(const RoutedGradient& op) const = 0;
  virtual std::size_t scratch(const ScoreBack& op) const = 0;
  virtual std::size_t scratch(const Repack& op) const = 0;
  virtual std::size_t scratch(const SquareSum& op) const = 0;

  virtual void run(Stream& stream, const Embed& op) = 0;
  virtual void run(Stream& stream, const AddNorm& op) = 0;
  virtual void run(Stream& stream, const Linear& op) = 0;
  virtual void run(Stream& stream, const HeadLinear& op) = 0;
  virtual void run(Stream& stream, const Rotary& op) = 0;
  virtual void run(Stream& stream, const LatentRotary& op) = 0;
  virtual void run(Stream& stream, const Attention& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const Route& op) = 0;
  virtual void run(Stream& stream, const Experts& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const RoutedLinear& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const Mix& op) = 0;
  virtual void run(Stream& stream, const Gather& op) = 0;
  virtual void run(Stream& stream, const Score& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const CombineScores& op) = 0;
  virtual void run(Stream& stream, const Sample& op, std::span<std::byte> scratch) = 0;

  // Of training.
  virtual void run(Stream& stream, const Activate& op) = 0;
  virtual void run(Stream& stream, const ActivateBack& op) = 0;
  virtual void run(Stream& stream, const LinearBack& op) = 0;
  virtual void run(Stream& stream, const HeadLinearBack& op) = 0;
  virtual void run(Stream& stream, const WeightGradient& op) = 0;
  virtual void run(Stream& stream, const RowSum& op) = 0;
  virtual void run(Stream& stream, const NormBack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const RotaryBack& op) = 0;
  virtual void run(Stream& stream, const LatentRotaryBack& op) = 0;
  virtual void run(Stream& stream, const AttentionBack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const RouteBack& op) = 0;
  virtual void run(Stream& stream, const ExpertsBack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const RoutedLinearBack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const RoutedGradient& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const Weigh& op) = 0;
  virtual void run(Stream& stream, const EmbedBack& op) = 0;
  virtual void run(Stream& stream, const ScoreBack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const Scatter& op) = 0;
  virtual void run(Stream& stream, const Dropout& op) = 0;
  virtual void run(Stream& stream, const Copy& op) = 0;
  virtual void run(Stream& stream, const Repack& op, std::span<std::byte> scratch) = 0;
  virtual void run(Stream& stream, const AdamW& op) = 0;
  virtual void run(Stream& stream, const Blend& op) = 0;
  virtual void run(Stream& stream, const SquareSum& op, std::span<std::byte> scratch) = 0;
};

}  // namespace orch::kernels
