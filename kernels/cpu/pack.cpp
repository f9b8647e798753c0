#include "kernels/cpu/pack.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "kernels/cpu/loops.h"
#include "kernels/number.h"

namespace orch::kernels::cpu {
namespace {

constexpr std::size_t kPageSize = 4096;

template <class W>
void lay_out(const float* rows, std::int64_t cols, W* panel) {
  for (std::int64_t k = 0; k < cols; ++k)
    for (std::int64_t c = 0; c < kPanel; ++c) panel[k * kPanel + c] = from_float<W>(rows[c * cols + k]);
}
void lay_out_pairs(const float* rows, std::int64_t cols, std::int64_t depth, Bf16* panel) {
  for (std::int64_t k = 0; k < depth; ++k)
    for (std::int64_t c = 0; c < kPanel; ++c)
      panel[(k / 2 * kPanel + c) * 2 + k % 2] = from_float<Bf16>(k < cols ? rows[c * cols + k] : 0.0F);
}
/// To 255 steps of each row, the same above and below 0. A row that is not finite gives NaN, as it does in other
/// formats.
void lay_out_int8(const float* rows, const float* largest, std::int64_t cols, std::int8_t* panel, float* scales) {
  for (std::int64_t c = 0; c < kPanel; ++c) {
    const bool finite = !std::isnan(largest[c]);
    scales[c] = largest[c] != 0 ? largest[c] / 127.0F : 1.0F;
    for (std::int64_t k = 0; k < cols; ++k)
      panel[k * kPanel + c] =
          finite ? static_cast<std::int8_t>(std::nearbyint(rows[c * cols + k] / scales[c])) : std::int8_t{0};
  }
}

}  // namespace

void FreeDeleter::operator()(std::byte* memory) const { std::free(memory); }

Bytes allocate_bytes(std::size_t size) {
  const auto whole =
      static_cast<std::size_t>(padded(static_cast<std::int64_t>(std::max<std::size_t>(size, 1)), kPageSize));
  return Bytes(static_cast<std::byte*>(std::aligned_alloc(kPageSize, whole)));
}

std::int64_t PanelWeight::row_at(std::int64_t number, std::int64_t column) const {
  if (!gated) {
    const std::int64_t row = number * kPanel + column;
    return row < rows ? row : -1;
  }
  const std::int64_t half = rows / 2, row = number * (kPanel / 2) + column % (kPanel / 2);
  if (row >= half) return -1;
  return column < kPanel / 2 ? row : half + row;
}

void shape_panels(PanelWeight& weight, const WeightShape& shape) {
  weight.rows = shape.rows;
  weight.cols = shape.cols;
  weight.count = shape.count;
  weight.dtype = shape.dtype;
  weight.gated = shape.gated;
  weight.panels = shape.gated ? padded(shape.rows / 2, kPanel / 2) / (kPanel / 2) : padded(shape.rows, kPanel) / kPanel;
  weight.depth = shape.dtype == DType::kBf16 ? padded(shape.cols, 2) : shape.cols;
  const auto number = static_cast<std::size_t>(bytes_of(shape.dtype));
  weight.panel_bytes = static_cast<std::size_t>(weight.depth * kPanel) * number;
  const auto panels = static_cast<std::size_t>(weight.count * weight.panels);
  weight.scale_offset = panels * weight.panel_bytes;
  weight.bytes = weight.scale_offset + (shape.dtype == DType::kInt8 ? panels * kPanel * sizeof(float) : 0);
}

void fill_panel(PanelWeight& weight, std::int64_t index, std::int64_t number, const RowReader& read) {
  const bool scaled = weight.dtype == DType::kInt8;
  std::vector<float> rows(static_cast<std::size_t>(kPanel * weight.cols)), largest(scaled ? kPanel : 0);
  // Columns of a panel are runs of rows: one, or two of a gated weight.
  for (std::int64_t column = 0; column < kPanel;) {
    const std::int64_t first = weight.row_at(number, column);
    std::int64_t count = 1;
    while (column + count < kPanel && first >= 0 && weight.row_at(number, column + count) == first + count) ++count;
    if (first >= 0) 
      read(index, first, count, rows.data() + column * weight.cols, scaled ? largest.data() + column : nullptr);
    column += count;
  }
  std::byte* panel = weight.panel(index, number);
  switch (weight.dtype) {
    case DType::kBf16:
      return lay_out_pairs(rows.data(), weight.cols, weight.depth, reinterpret_cast<Bf16*>(panel));
    case DType::kFp16:
      return lay_out(rows.data(), weight.cols, reinterpret_cast<Fp16*>(panel));
    case DType::kInt8:
      return lay_out_int8(rows.data(), largest.data(), weight.cols, reinterpret_cast<std::int8_t*>(panel),
                          weight.panel_scales(index, number));
    default:
      return lay_out(rows.data(), weight.cols, reinterpret_cast<float*>(panel));
  }
}

}  // namespace orch::kernels::cpu
