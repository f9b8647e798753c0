// The 8- and 16-bit numbers of weights and caches, one at a time. Loops over many are in vector.inc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace orch::kernels {

struct Bf16 {
  std::uint16_t bits;
};
struct Fp16 {
  std::uint16_t bits;
};
/// e4m3, as NVIDIA, OCP and PyTorch (float8_e4m3fn) have it: no infinity, 0x7f and 0xff are NaN, the largest is 448.
struct Fp8 {
  std::uint8_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }
inline float to_float(Fp16 value) { return static_cast<float>(std::bit_cast<_Float16>(value.bits)); }
inline float to_float(Fp8 value) {
  const std::uint32_t magnitude = value.bits & 0x7fU;
  if (magnitude == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  // Exponent and mantissa put where a float has them are 2^120 too small, subnormal ones too.
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
  return value.bits & 0x80 ? -scaled : scaled;
}
inline float to_float(std::int8_t value) { return value; }

template <class T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
  return value;
}
/// To the nearest, ties to even.
template <>
inline Bf16 from_float<Bf16>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
template <>
inline Fp16 from_float<Fp16>(float value) {
  return {std::bit_cast<std::uint16_t>(static_cast<_Float16>(value))};
}
/// To the nearest, ties to even; beyond the largest it is the largest.
template <>
inline Fp8 from_float<Fp8>(float value) {
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return {static_cast<std::uint8_t>(sign | 0x7f)};
  const float magnitude = std::min(std::fabs(value), 448.0F);
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  // Steps are 2^(e - 4) in [2^(e - 1), 2^e), and 2^-9 below the smallest normal number, 2^-6.
  const int step = std::max(exponent - 4, -9);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -step)));  // at most 16
  if (steps == 0) return {sign};
  // 2^-9 · steps of the smallest binade are the bits themselves; each binade above has 8 more of them.
  return {static_cast<std::uint8_t>(sign | ((step + 9) * 8 + steps))};
}

}  // namespace orch::kernels
