// What this machine can do at most, measured in the run whose figures are held against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace orch::bench {

/// Bytes a second at which so many threads read a buffer of `bytes` of memory; the best of `rounds`.
double read_bandwidth(std::size_t bytes, int threads, int rounds = 5);

/// rows × inner by inner × outputs.
struct ProductShape {
  std::int64_t rows = 0, inner = 0, outputs = 0;
};

/// One library's speed at a product, in FLOP/s, the best of `rounds`; 0: it cannot do it, or was not built in.
/// Operands are of `dtype`, results fp32 or of `dtype`, weights are packed beforehand.
double own_product(DType dtype, const ProductShape& shape, int threads, int rounds = 5);
double onednn_product(DType dtype, const ProductShape& shape, int threads, int rounds = 5);
/// `2.6.3`, or empty where it was not built in.
std::string_view onednn_version();

/// The best of all libraries over shapes at which each of them is good. `quick`: over a small one, to see that it runs.
double best_product(DType dtype, int threads, bool quick = false);

}  // namespace orch::bench
