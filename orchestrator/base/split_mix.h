// Numbers as if drawn by chance, the same on every machine and with every library: SplitMix64.
//
// Holds: the n-th number of a stream is a function of seed, stream and n alone. Nothing is carried over from one stream
// to the next, so what is drawn in an epoch does not depend on whether those before it were ever drawn.
#pragma once

#include <cstdint>

namespace orch {

class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}
  /// One of many streams of a seed.
  SplitMix64(std::uint64_t seed, std::uint64_t stream) : state_(SplitMix64(SplitMix64(seed).next() + stream).next()) {}

  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }

  /// Below `bound`, which is above 0; each number as likely as the others.
  std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t uneven = (0 - bound) % bound;  // of 2^64 numbers so many are over
    while (true)
      if (const std::uint64_t drawn = next(); drawn >= uneven) return drawn % bound;
  }

 private:
  std::uint64_t state_;
};

}  // namespace orch
