// What a model wrote in one go for several steps to learn from, as bytes: what ranks tell each other of it, and what a
// checkpoint between two of these steps has.
//
// Holds:
//  - What is unpacked is what was packed, bit for bit: also numbers that are none.
//  - Packed generations that stand one behind the other are one. So which rank wrote what does not matter.
//  - Bytes may be a stranger's: what fits together is unpacked, all else is an error that says so.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::train {

/// A completion.
struct Generated {
  std::int64_t number = 0;  ///< prompt × completions of each + its own among them
  std::vector<std::int32_t> tokens{};
  bool is_ended = false;  ///< by itself
  double reward = 0, advantage = 0;
  std::vector<float> old{};  ///< log-probability of each token when it was written

  bool operator==(const Generated&) const = default;
};

std::string pack_generation(std::span<const Generated> generated);
/// In the order of their numbers, each of which stands there once.
Result<std::vector<Generated>> unpack_generation(std::string_view bytes);

}  // namespace orch::train
