// Pages of the KV cache: which are free. A page belongs to one node of the prefix tree, or to one sequence that grows.
#pragma once

#include <cstdint>
#include <vector>

namespace orch::infer {

class Pages {
 public:
  explicit Pages(std::int32_t count) {
    for (std::int32_t page = count; page-- > 0;) free_.push_back(page);
  }
  std::int64_t free() const { return static_cast<std::int64_t>(free_.size()); }
  /// The caller has seen to it that there is one.
  std::int32_t take() {
    const std::int32_t page = free_.back();
    free_.pop_back();
    return page;
  }
  void give_back(std::vector<std::int32_t>& pages) {
    free_.insert(free_.end(), pages.rbegin(), pages.rend());
    pages.clear();
  }

 private:
  std::vector<std::int32_t> free_;  // the last is taken next: a step's pages lie together
};

}  // namespace orch::infer
