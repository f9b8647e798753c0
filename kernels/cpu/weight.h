// How the CPU keeps weights: in panels of 64 outputs, so that one vector holds one input's weights of 16 outputs. All
// numbers of rows use the one layout and the one order of summation; that is why a row's result does not depend on the
// others.
//
//   fp32, fp16   panel: inputs × 64
//   bf16, int8   panel: inputs / 2 × 64 × 2 (an even number of inputs, padded with 0)
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/ops.h"

namespace orch::kernels::cpu {

inline constexpr std::int64_t kPanel = 64;

struct GiveBack {
  std::size_t mapped = 0;  ///< of memory that the system gave directly; else 0
  void operator()(std::byte* memory) const;
};
using Bytes = std::unique_ptr<std::byte, GiveBack>;
/// Aligned to a page; nothing where there is no memory. What it holds is not defined.
Bytes allocate_bytes(std::size_t size);

class PanelWeight : public Weight {
 public:
  bool gated = false;       ///< a panel holds 32 gates, then the 32 values that they let through
  std::int64_t panels = 0;  ///< of one matrix
  std::int64_t depth = 0;   ///< inputs, padded
  std::size_t panel_bytes = 0;
  std::size_t scale_offset = 0;  ///< behind all panels: of int8 fp32 scales, 64 a panel
  Bytes data;

  std::byte* panel(std::int64_t index, std::int64_t number) const {
    return data.get() + static_cast<std::size_t>(index * panels + number) * panel_bytes;
  }
  /// Null where there are none.
  float* panel_scales(std::int64_t index, std::int64_t number) const {
    if (dtype != DType::kInt8) return nullptr;
    return reinterpret_cast<float*>(data.get() + scale_offset) + (index * panels + number) * kPanel;
  }
  /// Which row of the matrix stands in column `column` of a panel; -1: padding.
  std::int64_t row_at(std::int64_t number, std::int64_t column) const;
};

}  // namespace orch::kernels::cpu
