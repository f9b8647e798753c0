// A trie over bytes: which of many texts a text begins with, found in one walk.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace orch::tokenizer {

class Trie {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  static constexpr std::uint32_t kRoot = 0;

  Trie() : values_(1, kNone) {}

  /// Adds a text with its value. A text that is there already keeps the newest value.
  void add(std::string_view text, std::uint32_t value);

  /// The node behind `node` by this byte, or kNone.
  std::uint32_t step(std::uint32_t node, char byte) const {
    const std::uint64_t key = key_of(node, byte);
    for (std::size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].child;
      if (slots_[slot].key == kEmpty) return kNone;
    }
  }
  /// What the text that ends at the node has for a value, or kNone.
  std::uint32_t value(std::uint32_t node) const { return values_[node]; }

  /// The node where a walk along all of `text` ends, or kNone.
  std::uint32_t walk(std::uint32_t node, std::string_view text) const;

  bool empty() const { return values_.size() == 1; }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kEmpty;
    std::uint32_t child = kNone;
  };
  static std::uint64_t key_of(std::uint32_t node, char byte) {
    return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> 20) & mask_;
  }
  void grow();

  std::vector<std::uint32_t> values_;  ///< by node
  std::vector<Slot> slots_ = std::vector<Slot>(16);
  std::size_t mask_ = 15;
};

}  // namespace orch::tokenizer
