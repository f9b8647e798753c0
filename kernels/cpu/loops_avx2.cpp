// The loops for AVX2 with FMA.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/split_mix.h"
#include "kernels/cpu/loops.h"
#include "kernels/number.h"

// What stands above belongs to the whole program and must run anywhere; what follows is for such processors alone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma,f16c")

namespace orch::kernels::cpu::avx2 {
namespace {

#include "kernels/cpu/loops/all.inc"

}  // namespace

const Loops* loops() {
  static constexpr Loops kLoops = table("avx2");
  return &kLoops;
}

}  // namespace orch::kernels::cpu::avx2

#else

namespace orch::kernels::cpu::avx2 {
const Loops* loops() { return nullptr; }
}  // namespace orch::kernels::cpu::avx2

#endif
