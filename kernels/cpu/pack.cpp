#include "kernels/cpu/pack.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/loops.h"

namespace orch::kernels::cpu {
namespace {

constexpr std::size_t kPageSize = 4096;
/// Columns of a panel that are laid out together: half a half of a gated one.
constexpr std::int64_t kColumns = 16;

/// Larger pieces are asked for in the system's large pages: there are fewer of them to find, and to clear. They come
/// from the system itself, for what was freed before lies in small pages already.
constexpr std::size_t kLargePage = std::size_t{2} << 20;

#if defined(__linux__)
Bytes map_bytes(std::size_t size) {
  const std::size_t asked = size + kLargePage;
  void* got = mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return Bytes(nullptr, GiveBack{});
  auto* begin = static_cast<std::byte*>(got);
  const std::size_t before = (kLargePage - reinterpret_cast<std::uintptr_t>(begin) % kLargePage) % kLargePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + size, asked - before - size);
  madvise(begin + before, size, MADV_HUGEPAGE);  // where there are none it is as before
  return Bytes(begin + before, GiveBack{size});
}
#endif

std::size_t up_to(std::size_t size, std::size_t page) { return (size + page - 1) / page * page; }

}  // namespace

void GiveBack::operator()(std::byte* memory) const {
#if defined(__linux__)
  if (mapped > 0) {
    munmap(memory, mapped);
    return;
  }
#endif
  std::free(memory);
}

Bytes allocate_bytes(std::size_t size) {
#if defined(__linux__)
  if (size >= 2 * kLargePage) return map_bytes(up_to(size, kLargePage));
#endif
  const std::size_t whole = up_to(std::max<std::size_t>(size, 1), kPageSize);
  return Bytes(static_cast<std::byte*>(std::aligned_alloc(kPageSize, whole)), GiveBack{});
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
  const bool pairs = shape.dtype == DType::kBf16 || shape.dtype == DType::kInt8;
  weight.depth = pairs ? padded(shape.cols, 2) : shape.cols;
  const auto number = static_cast<std::size_t>(bytes_of(shape.dtype));
  weight.panel_bytes = static_cast<std::size_t>(weight.depth * kPanel) * number;
  const auto panels = static_cast<std::size_t>(weight.count * weight.panels);
  weight.scale_offset = panels * weight.panel_bytes;
  weight.bytes = weight.scale_offset + (shape.dtype == DType::kInt8 ? panels * kPanel * sizeof(float) : 0);
}

void fill_panel(PanelWeight& weight, std::int64_t index, std::int64_t number, const RowReader& reader,
                const Loops& loops, std::vector<float>& rows) {
  const bool scaled = weight.dtype == DType::kInt8;
  const bool as_stored = weight.dtype == DType::kBf16 || weight.dtype == DType::kFp32;
  rows.resize(static_cast<std::size_t>(kColumns * weight.cols));
  for (std::int64_t column = 0; column < kPanel; column += kColumns) {
    // A gated panel's halves are whole runs of rows too; behind the last row there is padding.
    const std::int64_t first = weight.row_at(number, column);
    std::int64_t count = first < 0 ? 0 : 1;
    while (count > 0 && count < kColumns && weight.row_at(number, column + count) == first + count) ++count;

    const std::byte* stored[kColumns] = {};
    bool all_stored = as_stored && count > 0;
    for (std::int64_t c = 0; c < count && all_stored; ++c) {
      stored[c] = reader.stored(index, first + c, weight.dtype);
      all_stored = stored[c] != nullptr;
    }
    if (all_stored) {
      std::fill_n(rows.begin(), weight.cols, 0.0F);
      std::fill(stored + count, stored + kColumns, reinterpret_cast<const std::byte*>(rows.data()));
      loops.lay_out_stored(weight, index, number, column, stored);
      continue;
    }
    float largest[kColumns] = {};
    if (count > 0) reader.read(index, first, count, rows.data(), scaled ? largest : nullptr);
    std::fill(rows.begin() + count * weight.cols, rows.end(), 0.0F);
    loops.lay_out(weight, index, number, column, rows.data(), largest);
  }
}

}  // namespace orch::kernels::cpu
