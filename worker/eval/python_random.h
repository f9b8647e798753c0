// The random numbers of Python's `random.Random`: lm-evaluation-harness draws worked examples with them, so that the
// same examples are to be drawn here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace orch::eval {

class PythonRandom {
 public:
  /// As random.Random(seed).
  explicit PythonRandom(std::uint32_t seed);

  /// As sample(range(size), count); `count` is at most `size`.
  std::vector<std::size_t> sample(std::size_t size, std::size_t count);

 private:
  std::uint32_t next();
  std::size_t below(std::size_t bound);

  static constexpr std::size_t kWords = 624;  // of the Mersenne Twister's state
  std::array<std::uint32_t, kWords> state_{};
  std::size_t at_ = kWords;
};

}  // namespace orch::eval
