// Host numbers to and from a backend, for tests and benchmarks of ops.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace orch::kernels::test {

/// Numbers of a matrix as the reference sees them: doubles, exactly what the backend has.
struct Numbers {
  std::vector<double> values;
  std::int64_t rows = 0, cols = 0;

  double& at(std::int64_t row, std::int64_t col) { return values[static_cast<std::size_t>(row * cols + col)]; }
  double at(std::int64_t row, std::int64_t col) const { return values[static_cast<std::size_t>(row * cols + col)]; }
};

double rounded(double value, DType dtype);

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  double normal() { return std::normal_distribution<double>()(engine_); }
  double uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(engine_); }
  std::int64_t whole(std::int64_t from, std::int64_t to) {
    return std::uniform_int_distribution<std::int64_t>(from, to)(engine_);
  }
  /// Normal numbers, rounded as `dtype` has them.
  Numbers numbers(std::int64_t rows, std::int64_t cols, DType dtype, double deviation = 1, double mean = 0);

 private:
  std::mt19937_64 engine_;
};

/// A backend, a stream and what was put there.
class Device {
 public:
  explicit Device(Backend& backend) : backend_(backend), stream_(backend.make_stream()) {}

  Backend& backend() { return backend_; }
  Stream& stream() { return *stream_; }

  /// `spare`: elements behind each row, which no op may touch.
  Matrix put(const Numbers& numbers, DType dtype, std::int64_t spare = 0);
  /// Holds NaN until an op has written it.
  Matrix poisoned(std::int64_t rows, std::int64_t cols, DType dtype, std::int64_t spare = 0);
  Ints put(std::vector<std::int32_t> values);
  Ints poisoned_ints(std::int64_t size);
  /// `stored`: the format of the checkpoint that they come from.
  const Weight* pack(const std::vector<Numbers>& stack, DType dtype, bool gated = false, DType stored = DType::kFp16);
  const Weight* pack(const Numbers& numbers, DType dtype, bool gated = false) {
    return pack(std::vector<Numbers>{numbers}, dtype, gated);
  }
  KvCache cache(const KvShape& shape, std::int64_t pages);
  std::span<std::byte> scratch(std::size_t bytes);

  Numbers get(const Matrix& matrix);
  std::vector<std::int32_t> get(const Ints& ints);
  /// Whether what stands behind the rows of a poisoned matrix is still poison.
  bool is_spare_untouched(const Matrix& matrix);

 private:
  void* keep(const void* host, std::size_t bytes);

  Backend& backend_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::unique_ptr<Weight>> weights_;
};

}  // namespace orch::kernels::test
