#include "eval/python_random.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace orch::eval {

PythonRandom::PythonRandom(std::uint32_t seed) {
  // Python seeds by array, with the number's 32-bit words as the array: here one word.
  state_[0] = 19650218u;
  for (std::uint32_t i = 1; i < kWords; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  std::size_t i = 1;
  const auto step_on = [&] {
    if (++i == kWords) {
      state_[0] = state_[kWords - 1];
      i = 1;
    }
  };
  for (std::size_t k = 0; k < kWords; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + seed;
    step_on();
  }
  for (std::size_t k = 0; k + 1 < kWords; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - static_cast<std::uint32_t>(i);
    step_on();
  }
  state_[0] = 0x80000000u;
}

std::uint32_t PythonRandom::next() {
  if (at_ == kWords) {
    constexpr std::size_t kShift = 397;
    for (std::size_t k = 0; k < kWords; ++k) {
      const std::uint32_t mixed = (state_[k] & 0x80000000u) | (state_[(k + 1) % kWords] & 0x7fffffffu);
      state_[k] = state_[(k + kShift) % kWords] ^ (mixed >> 1) ^ ((mixed & 1) ? 0x9908b0dfu : 0u);
    }
    at_ = 0;
  }
  std::uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

std::size_t PythonRandom::below(std::size_t bound) {
  const int bits = std::bit_width(bound);
  for (;;) {
    const std::size_t drawn = next() >> (32 - bits);
    if (drawn < bound) return drawn;
  }
}

std::vector<std::size_t> PythonRandom::sample(std::size_t size, std::size_t count) {
  // Python copies a small pool and takes from it, and of a large one draws again what it has already; which is small
  // follows from the memory that a set would take.
  std::size_t small = 21;
  if (count > 5)
    for (std::size_t power = 4;; power *= 4)
      if (power >= count * 3) {
        small += power;
        break;
      }
  std::vector<std::size_t> drawn;
  drawn.reserve(count);
  if (size <= small) {
    std::vector<std::size_t> pool(size);
    std::iota(pool.begin(), pool.end(), std::size_t{0});
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t j = below(size - i);
      drawn.push_back(pool[j]);
      pool[j] = pool[size - i - 1];
    }
    return drawn;
  }
  while (drawn.size() < count) {
    const std::size_t j = below(size);
    if (std::ranges::find(drawn, j) == drawn.end()) drawn.push_back(j);
  }
  return drawn;
}

}  // namespace orch::eval
