// What goes to a backend in one piece.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace orch::infer {

/// Numbers of one kind that go to the backend in one piece.
template <class T>
class Arena {
 public:
  std::size_t add(std::span<const T> values) {
    const std::size_t from = host_.size();
    host_.insert(host_.end(), values.begin(), values.end());
    return from;
  }
  std::size_t add_space(std::size_t count) {
    host_.resize(host_.size() + count);
    return host_.size() - count;
  }
  void clear() { host_.clear(); }
  std::size_t bytes() const { return host_.size() * sizeof(T); }
  T* host() { return host_.data(); }
  std::span<const T> part(std::size_t from, std::size_t count) const { return std::span(host_).subspan(from, count); }

 private:
  std::vector<T> host_;
};

}  // namespace orch::infer
