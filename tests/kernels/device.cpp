#include "kernels/device.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/number.h"

namespace orch::kernels::test {
namespace {

std::size_t size_of(DType dtype) { return static_cast<std::size_t>(bytes_of(dtype)); }

void write(DType dtype, double value, std::byte* to) {
  const auto as = [&](auto number) { std::memcpy(to, &number, sizeof number); };
  const auto single = static_cast<float>(value);
  if (dtype == DType::kFp32) return as(single);
  if (dtype == DType::kBf16) return as(from_float<Bf16>(single));
  if (dtype == DType::kFp16) return as(from_float<Fp16>(single));
  as(from_float<Fp8>(single));
}

double read(DType dtype, const std::byte* from) {
  const auto as = [&](auto number) {
    std::memcpy(&number, from, sizeof number);
    return static_cast<double>(to_float(number));
  };
  if (dtype == DType::kFp32) return as(float{});
  if (dtype == DType::kBf16) return as(Bf16{});
  if (dtype == DType::kFp16) return as(Fp16{});
  return as(Fp8{});
}

}  // namespace

double rounded(double value, DType dtype) {
  std::byte bytes[4];
  write(dtype, value, bytes);
  return read(dtype, bytes);
}

Numbers Random::numbers(std::int64_t rows, std::int64_t cols, DType dtype, double deviation, double mean) {
  Numbers numbers{{}, rows, cols};
  for (std::int64_t i = 0; i < rows * cols; ++i) numbers.values.push_back(rounded(mean + deviation * normal(), dtype));
  return numbers;
}

void* Device::keep(const void* host, std::size_t bytes) {
  auto buffer = backend_.allocate(bytes, "a test's numbers");
  if (!buffer) throw std::runtime_error(buffer.error().what);
  backend_.upload(*stream_, (*buffer)->data, host, bytes);
  if (!backend_.wait(*stream_)) throw std::runtime_error("an upload failed");
  buffers_.push_back(*std::move(buffer));
  return buffers_.back()->data;
}

Matrix Device::put(const Numbers& numbers, DType dtype, std::int64_t spare) {
  const std::int64_t stride = numbers.cols + spare;
  const std::size_t each = size_of(dtype);
  std::vector<std::byte> host(static_cast<std::size_t>(numbers.rows * stride) * each + 1);
  for (std::int64_t r = 0; r < numbers.rows; ++r)
    for (std::int64_t c = 0; c < stride; ++c)
      write(dtype, c < numbers.cols ? numbers.at(r, c) : std::numeric_limits<double>::quiet_NaN(),
            host.data() + static_cast<std::size_t>(r * stride + c) * each);
  return {keep(host.data(), host.size()), dtype, numbers.rows, numbers.cols, stride};
}

Matrix Device::poisoned(std::int64_t rows, std::int64_t cols, DType dtype, std::int64_t spare) {
  const Numbers poison{
      std::vector<double>(static_cast<std::size_t>(rows * cols), std::numeric_limits<double>::quiet_NaN()), rows, cols};
  return put(poison, dtype, spare);
}

Ints Device::put(std::vector<std::int32_t> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  values.push_back(0);
  return {static_cast<std::int32_t*>(keep(values.data(), values.size() * sizeof(std::int32_t))), size};
}

Ints Device::poisoned_ints(std::int64_t size) {
  return put(std::vector<std::int32_t>(static_cast<std::size_t>(size), std::numeric_limits<std::int32_t>::min()));
}

namespace {

class NumbersReader : public RowReader {
 public:
  /// `wanted`: what they are packed as. Where that is how they are stored, who reads them as fp32 all the same gets
  /// none.
  NumbersReader(const std::vector<Numbers>& stack, DType stored, DType wanted)
      : stack_(stack), dtype_(stored), as_stored_(stored == wanted && stored != DType::kFp16) {
    const std::size_t each = size_of(dtype_);
    for (const Numbers& numbers : stack_) {
      // One byte behind a round address.
      std::vector<std::byte>& bytes = stored_.emplace_back(numbers.values.size() * each + 1);
      for (std::size_t i = 0; i < numbers.values.size(); ++i) write(dtype_, numbers.values[i], &bytes[1 + i * each]);
    }
  }
  void read(std::int64_t index, std::int64_t first, std::int64_t count, float* out, float* largest) const override {
    const Numbers& from = stack_[static_cast<std::size_t>(index)];
    if (as_stored_) return static_cast<void>(std::fill_n(out, count * from.cols, std::nanf("")));
    for (std::int64_t i = 0; i < count * from.cols; ++i)
      out[i] = static_cast<float>(from.values[static_cast<std::size_t>(first * from.cols + i)]);
    for (std::int64_t row = 0; largest && row < count; ++row) {
      largest[row] = 0;
      for (std::int64_t k = 0; k < from.cols; ++k) {
        const float number = out[row * from.cols + k];
        largest[row] = std::isfinite(number) ? std::max(largest[row], std::fabs(number)) : std::nanf("");
        if (!std::isfinite(number)) break;
      }
    }
  }
  const std::byte* stored(std::int64_t index, std::int64_t row, DType dtype) const override {
    if (dtype != dtype_) return nullptr;
    const Numbers& from = stack_[static_cast<std::size_t>(index)];
    return &stored_[static_cast<std::size_t>(index)][1 + static_cast<std::size_t>(row * from.cols) * size_of(dtype)];
  }

 private:
  const std::vector<Numbers>& stack_;
  const DType dtype_;
  const bool as_stored_;
  std::vector<std::vector<std::byte>> stored_;
};

}  // namespace

const Weight* Device::pack(const std::vector<Numbers>& stack, DType dtype, bool gated, DType stored) {
  WeightShape shape;
  shape.rows = stack.front().rows;
  shape.cols = stack.front().cols;
  shape.count = static_cast<std::int64_t>(stack.size());
  shape.dtype = dtype;
  shape.gated = gated;
  auto packed = backend_.pack(shape, NumbersReader(stack, stored, dtype), "a test's weights");
  if (!packed) throw std::runtime_error(packed.error().what);
  weights_.push_back(*std::move(packed));
  return weights_.back().get();
}

KvCache Device::cache(const KvShape& shape, std::int64_t pages) {
  const std::size_t bytes = backend_.page_bytes(shape) * static_cast<std::size_t>(pages);
  // All bits set are NaN in every format: what was not written must not be read.
  const std::vector<std::byte> poison(bytes, std::byte{0xff});
  return {shape, keep(poison.data(), bytes), pages};
}

std::span<std::byte> Device::scratch(std::size_t bytes) {
  const std::vector<std::byte> poison(bytes + 1, std::byte{0xff});
  return {static_cast<std::byte*>(keep(poison.data(), poison.size())), bytes};
}

Numbers Device::get(const Matrix& matrix) {
  const std::size_t each = size_of(matrix.dtype);
  std::vector<std::byte> host(static_cast<std::size_t>(matrix.rows * matrix.stride) * each);
  backend_.download(*stream_, host.data(), matrix.data, host.size());
  if (auto waited = backend_.wait(*stream_); !waited) throw std::runtime_error(waited.error().what);
  Numbers numbers{{}, matrix.rows, matrix.cols};
  for (std::int64_t r = 0; r < matrix.rows; ++r)
    for (std::int64_t c = 0; c < matrix.cols; ++c)
      numbers.values.push_back(
          read(matrix.dtype, host.data() + static_cast<std::size_t>(r * matrix.stride + c) * each));
  return numbers;
}

std::vector<std::int32_t> Device::get(const Ints& ints) {
  std::vector<std::int32_t> host(static_cast<std::size_t>(ints.size));
  backend_.download(*stream_, host.data(), ints.data, host.size() * sizeof(std::int32_t));
  if (auto waited = backend_.wait(*stream_); !waited) throw std::runtime_error(waited.error().what);
  return host;
}

bool Device::is_spare_untouched(const Matrix& matrix) {
  Matrix whole = matrix;
  whole.cols = matrix.stride;
  const Numbers all = get(whole);
  for (std::int64_t r = 0; r < matrix.rows; ++r)
    for (std::int64_t c = matrix.cols; c < matrix.stride; ++c)
      if (!std::isnan(all.at(r, c))) return false;
  return true;
}

}  // namespace orch::kernels::test
