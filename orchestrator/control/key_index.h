// From the key of a cell to the cell: an open table of 4 bytes a slot, because the keys themselves lie in the cells,
// and are SHA-256, which needs no further hashing.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "control/cell.h"

namespace orch::control {

class KeyIndex {
 public:
  std::optional<CellId> find(const Digest& key, const std::vector<Cell>& cells) const {
    if (slots_.empty()) return std::nullopt;
    for (std::size_t at = home(key);; at = next(at)) {
      if (slots_[at] == kEmpty) return std::nullopt;
      if (cells[slots_[at]].key == key) return CellId{slots_[at]};
    }
  }

  /// The cell is in `cells` already, and its key is not known here.
  void add(CellId cell, const std::vector<Cell>& cells) {
    if (2 * (used_ + 1) > slots_.size()) grow(cells);
    put(index(cell), cells);
    ++used_;
  }

 private:
  static constexpr std::uint32_t kEmpty = 0xFFFFFFFFu;

  std::size_t home(const Digest& key) const {
    std::uint64_t head = 0;
    std::memcpy(&head, key.bytes.data(), sizeof head);
    return static_cast<std::size_t>(head) & (slots_.size() - 1);
  }
  std::size_t next(std::size_t at) const { return (at + 1) & (slots_.size() - 1); }
  void put(std::size_t cell, const std::vector<Cell>& cells) {
    std::size_t at = home(cells[cell].key);
    while (slots_[at] != kEmpty) at = next(at);
    slots_[at] = static_cast<std::uint32_t>(cell);
  }
  void grow(const std::vector<Cell>& cells) {
    std::vector<std::uint32_t> old(slots_.empty() ? 64 : 2 * slots_.size(), kEmpty);
    old.swap(slots_);
    for (const std::uint32_t cell : old)
      if (cell != kEmpty) put(cell, cells);
  }

  std::vector<std::uint32_t> slots_;
  std::size_t used_ = 0;
};

}  // namespace orch::control
