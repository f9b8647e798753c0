// Counts of combinations, which stay at the largest number that there is instead of wrapping around.
#pragma once

#include <cstdint>
#include <limits>

namespace orch::matrix {

inline constexpr std::int64_t kMostCount = std::numeric_limits<std::int64_t>::max();

inline std::int64_t add_capped(std::int64_t a, std::int64_t b) { return a > kMostCount - b ? kMostCount : a + b; }
inline std::int64_t times_capped(std::int64_t a, std::int64_t b) {
  return b != 0 && a > kMostCount / b ? kMostCount : a * b;
}

}  // namespace orch::matrix
