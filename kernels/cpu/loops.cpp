#include "kernels/cpu/loops.h"

#include <array>
#include <vector>

namespace orch::kernels::cpu {

namespace avx512_bf16 {
const Loops* loops();
}
namespace avx512 {
const Loops* loops();
}
namespace avx2 {
const Loops* loops();
}
namespace base {
const Loops* loops();
}

PageLayout::PageLayout(const KvShape& shape) : value_stride(padded(shape.value_dim, kPageTokens)) {
  const auto number = static_cast<std::size_t>(bytes_of(shape.dtype));
  const auto vectors = static_cast<std::size_t>(shape.heads) * kPageTokens;
  values = vectors * static_cast<std::size_t>(shape.key_dim) * number;
  key_scales = values + (shape.values_in_keys ? 0 : vectors * static_cast<std::size_t>(value_stride) * number);
  const std::size_t scale = shape.dtype == DType::kFp8 ? vectors * sizeof(float) : 0;
  value_scales = key_scales + scale;
  bytes = value_scales + (shape.values_in_keys ? 0 : scale);
}

std::span<const Loops* const> all_loops() {
  static const std::vector<const Loops*> kAll = [] {
    std::vector<const Loops*> all;
    const auto add = [&](bool runs, const Loops* loops) {
      if (runs && loops) all.push_back(loops);
    };
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    add(avx512 && __builtin_cpu_supports("avx512bf16"), avx512_bf16::loops());
    add(avx512, avx512::loops());
    add(avx2, avx2::loops());
#endif
    add(true, base::loops());
    return all;
  }();
  return kAll;
}

const Loops& loops() { return *all_loops().front(); }

}  // namespace orch::kernels::cpu
