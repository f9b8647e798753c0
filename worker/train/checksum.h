// XXH64, by which damaged files are noticed. https://github.com/Cyan4973/xxHash (xxhsum -H64 says the same)
//
// It is against chance, not against people: whoever changes a file can change its checksum, too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace orch::train {

/// Of bytes that come in parts: how they are cut changes nothing.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const;

 private:
  static constexpr std::size_t kStripe = 32;
  void add_stripe(const std::byte* stripe);

  std::array<std::uint64_t, 4> sums_ = start();
  std::array<std::byte, kStripe> rest_{};  ///< what fills no stripe yet
  std::size_t held_ = 0;                   ///< bytes of it
  std::uint64_t total_ = 0;
  static std::array<std::uint64_t, 4> start();
};

inline std::uint64_t checksum(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.value();
}

}  // namespace orch::train
