// What recorded gradients are known by: their size, and sums with signs that anyone can make again, as
// scripts/in_double.py has them.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace orch::test {

inline std::uint32_t crc32_of(std::string_view text) {
  std::uint32_t crc = 0xffffffffU;
  for (const char c : text) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320U : crc >> 1;
  }
  return ~crc;
}

/// Sum of numbers, each with a sign that its place, the tensor's name and k say.
inline double projected(const std::vector<float>& numbers, std::string_view name, std::uint64_t k) {
  const std::uint64_t seed = 1000 * k + crc32_of(name);
  double sum = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::uint64_t z = seed + i + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    z ^= z >> 31;
    sum += z >> 63 ? -static_cast<double>(numbers[i]) : static_cast<double>(numbers[i]);
  }
  return sum;
}

inline double norm_of(const std::vector<float>& numbers) {
  double sum = 0;
  for (const float number : numbers) sum += static_cast<double>(number) * static_cast<double>(number);
  return std::sqrt(sum);
}

}  // namespace orch::test
