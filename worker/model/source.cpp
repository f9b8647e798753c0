#include "model/source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace orch::model {
namespace {

constexpr std::int64_t kBlock = 128;

std::optional<Stored> stored_as(DType dtype) {
  if (dtype == DType::kFp32) return Stored::kF32;
  if (dtype == DType::kBf16) return Stored::kBf16;
  return std::nullopt;
}

std::int64_t width_of(const Tensor& tensor) { return tensor.shape.size() < 2 ? 1 : tensor.count() / tensor.shape[0]; }

/// What number (row, col) of the run's tensor is multiplied by.
float scale_at(const Run& run, std::int64_t row, std::int64_t col) {
  const std::int64_t count = run.scales->count(), width = width_of(*run.scales);
  std::int64_t at = row / kBlock * width + col / kBlock;
  if (count == 1)
    at = 0;
  else if (width == 1 && count == run.tensor->shape[0])
    at = row;
  float scale = 1;
  read_numbers(*run.scales, at, 1, &scale);
  return scale;
}

void scale(const Run& run, std::int64_t row, std::int64_t from, std::int64_t count, float* numbers) {
  if (!run.scales) return;
  for (std::int64_t i = 0; i < count;) {
    const std::int64_t end = std::min(count, (from + i) / kBlock * kBlock + kBlock - from);
    const float factor = scale_at(run, row, from + i);
    for (; i < end; ++i) numbers[i] *= factor;
  }
}

void copy_rows(const Source& source, std::int64_t first, std::int64_t count, float* out) {
  std::int64_t begin = 0;  // of the run, among the source's rows
  for (const Run& run : source.runs) {
    const std::int64_t from = std::max(first, begin), to = std::min(first + count, begin + run.count);
    const std::int64_t width = run.tensor ? width_of(*run.tensor) : 0;
    if (!run.tensor) {
      if (from < to) std::fill_n(out + (from - first) * source.cols, (to - from) * source.cols, 0.0F);
    } else if (!source.transposed) {
      for (std::int64_t row = from; row < to; ++row) {
        float* numbers = out + (row - first) * source.cols;
        const std::int64_t at = run.first + row - begin;
        read_numbers(*run.tensor, at * width + source.from, source.cols, numbers);
        scale(run, at, source.from, source.cols, numbers);
      }
    } else if (from < to) {
      std::vector<float> column(static_cast<std::size_t>(to - from));
      for (std::int64_t col = 0; col < source.cols; ++col) {
        const std::int64_t at = run.first + from - begin;
        read_numbers(*run.tensor, (source.from + col) * width + at, to - from, column.data());
        scale(run, source.from + col, at, to - from, column.data());
        for (std::int64_t row = from; row < to; ++row)
          out[(row - first) * source.cols + col] = column[static_cast<std::size_t>(row - from)];
      }
    }
    begin += run.count;
  }
}

float largest_of(std::span<const float> numbers) {
  float largest = 0;
  for (const float number : numbers) {
    if (!std::isfinite(number)) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, std::fabs(number));
  }
  return largest;
}

}  // namespace

std::int64_t Source::rows() const {
  std::int64_t rows = 0;
  for (const Run& run : runs) rows += run.count;
  return rows;
}

void read_rows(const Source& source, std::int64_t first, std::int64_t count, float* out, float* largest) {
  copy_rows(source, first, count, out);
  if (!largest) return;
  std::vector<float> whole;
  Source all = source;
  if (source.all_cols > 0) {
    all.from = 0, all.cols = source.all_cols;
    whole.resize(static_cast<std::size_t>(count * all.cols));
    copy_rows(all, first, count, whole.data());
    out = whole.data();
  }
  const auto cols = static_cast<std::size_t>(all.cols);
  for (std::size_t row = 0; row < static_cast<std::size_t>(count); ++row)
    largest[row] = largest_of({out + row * cols, cols});
}

const std::byte* stored_row(const Source& source, std::int64_t row, DType dtype) {
  if (source.transposed) return nullptr;
  for (const Run& run : source.runs) {
    if (row >= run.count) {
      row -= run.count;
      continue;
    }
    if (!run.tensor || run.scales || run.tensor->stored != stored_as(dtype)) return nullptr;
    const std::int64_t at = (run.first + row) * width_of(*run.tensor) + source.from;
    return run.tensor->bytes.data() + at * static_cast<std::int64_t>(bytes_of(dtype));
  }
  return nullptr;
}

std::vector<float> read_all(const Source& source) {
  std::vector<float> numbers(static_cast<std::size_t>(source.rows() * source.cols));
  read_rows(source, 0, source.rows(), numbers.data());
  return numbers;
}

void put_back(const Source& source, std::span<const float> numbers, Tensors& tensors) {
  auto number = numbers.begin();
  for (const Run& run : source.runs) {
    std::vector<float>& tensor = tensors[run.name];
    tensor.resize(static_cast<std::size_t>(run.rows * run.cols));
    for (std::int64_t row = run.first; row < run.first + run.count; ++row)
      for (std::int64_t col = source.from; col < source.from + source.cols; ++col)
        tensor[static_cast<std::size_t>(source.transposed ? col * run.cols + row : row * run.cols + col)] += *number++;
  }
}

}  // namespace orch::model
