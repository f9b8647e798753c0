#include "control/queue.h"

#include <algorithm>
#include <tuple>

namespace orch::control {
namespace {

/// The order of a heap whose top is the best.
bool worse(const Queue::Entry& a, const Queue::Entry& b) {
  return std::tuple(a.score, b.order) < std::tuple(b.score, a.order);
}

void drop_best(std::vector<Queue::Entry>& heap) {
  std::pop_heap(heap.begin(), heap.end(), worse);
  heap.pop_back();
}

}  // namespace

void Queue::push(NeedId need, SweepId sweep, const Entry& entry) {
  std::vector<Entry>& heap = heaps_[{need, sweep}];
  heap.push_back(entry);
  std::push_heap(heap.begin(), heap.end(), worse);
}

std::optional<Queue::Entry> Queue::best(const Head& head, const Waits& waits) {
  const auto at = heaps_.find(head);
  if (at == heaps_.end()) return std::nullopt;
  std::vector<Entry>& heap = at->second;
  while (!heap.empty() && !waits(head.first, heap.front().cell)) drop_best(heap);
  if (!heap.empty()) return heap.front();
  heaps_.erase(at);
  return std::nullopt;
}

void Queue::pop(const Head& head) {
  const auto at = heaps_.find(head);
  drop_best(at->second);
  if (at->second.empty()) heaps_.erase(at);
}

std::vector<Queue::Head> Queue::heads() const {
  std::vector<Head> heads;
  heads.reserve(heaps_.size());
  for (const auto& [head, heap] : heaps_) heads.push_back(head);
  return heads;
}

std::vector<Queue::Head> Queue::heads_of(NeedId need) const {
  std::vector<Head> heads;
  for (auto at = heaps_.lower_bound({need, SweepId{0}}); at != heaps_.end() && at->first.first == need; ++at)
    heads.push_back(at->first);
  return heads;
}

void Queue::forget(SweepId sweep) {
  std::erase_if(heaps_, [&](const auto& heap) { return heap.first.second == sweep; });
}

}  // namespace orch::control
