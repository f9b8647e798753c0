// The loops for AVX-512.
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
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
// GCC 12 does not define its own names for what the line above asks for.
#define ORCH_AVX512

namespace orch::kernels::cpu::avx512 {
namespace {

#include "kernels/cpu/loops/all.inc"

}  // namespace

const Loops* loops() {
  static constexpr Loops kLoops = table("avx512");
  return &kLoops;
}

}  // namespace orch::kernels::cpu::avx512

#else

namespace orch::kernels::cpu::avx512 {
const Loops* loops() { return nullptr; }
}  // namespace orch::kernels::cpu::avx512

#endif
