#include "model/tokenizer/trie.h"

#include <utility>

namespace orch::tokenizer {

void Trie::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    std::size_t at = slot_of(slot.key);
    while (slots_[at].key != kEmpty) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
}

void Trie::add(std::string_view text, std::uint32_t value) {
  std::uint32_t node = kRoot;
  for (const char byte : text) {
    const std::uint64_t key = key_of(node, byte);
    std::size_t at = slot_of(key);
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & mask_;
    if (slots_[at].key == kEmpty) {
      slots_[at] = {key, static_cast<std::uint32_t>(values_.size())};
      values_.push_back(kNone);
      node = slots_[at].child;
      if (values_.size() * 2 > slots_.size()) grow();
    } else {
      node = slots_[at].child;
    }
  }
  values_[node] = value;
}

std::uint32_t Trie::walk(std::uint32_t node, std::string_view text) const {
  for (const char byte : text) {
    if (node == kNone) break;
    node = step(node, byte);
  }
  return node;
}

}  // namespace orch::tokenizer
