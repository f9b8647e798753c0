// The loops for any processor that the compiler was told to build for.
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

namespace orch::kernels::cpu::base {
namespace {

#include "kernels/cpu/loops/all.inc"

}  // namespace

const Loops* loops() {
  static constexpr Loops kLoops = table("base");
  return &kLoops;
}

}  // namespace orch::kernels::cpu::base
