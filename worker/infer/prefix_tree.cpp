#include "infer/prefix_tree.h"

#include <algorithm>
#include <numeric>

namespace orch::infer {
namespace {

using Sequence = std::vector<std::int32_t>;

std::size_t common(const Sequence& a, const Sequence& b, std::size_t from) {
  const std::size_t most = std::min(a.size(), b.size());
  while (from < most && a[from] == b[from]) ++from;
  return from;
}

/// Sequences [first, last) of the order share `depth` tokens.
struct Range {
  std::size_t first, last, depth;
  std::int32_t parent;
};

}  // namespace

PrefixTree::PrefixTree(std::span<const Sequence> sequences, bool shares) : ends_(sequences.size(), kNoNode) {
  if (!shares) {
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const auto number = static_cast<std::int32_t>(i);
      nodes_.push_back({kNoNode, 0, sequences[i], number + 1, {number}});
      ends_[i] = number;
    }
    return;
  }
  std::vector<std::int32_t> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](std::size_t i) -> const Sequence& { return sequences[static_cast<std::size_t>(order[i])]; };
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return sequences[static_cast<std::size_t>(a)] < sequences[static_cast<std::size_t>(b)];
  });

  // Depth first without recursion: sequences may be long and nest deeply.
  std::vector<Range> open;
  const auto open_children = [&](std::size_t first, std::size_t last, std::size_t depth, std::int32_t parent) {
    std::vector<Range> children;
    for (std::size_t i = first; i < last;) {
      std::size_t next = i + 1;
      while (next < last && at(next)[depth] == at(i)[depth]) ++next;
      children.push_back({i, next, depth, parent});
      i = next;
    }
    // The children in the order in which their sequences were given; the last to be put on the stack is taken first.
    const auto earliest = [&](const Range& range) {
      return *std::min_element(order.begin() + static_cast<std::ptrdiff_t>(range.first),
                               order.begin() + static_cast<std::ptrdiff_t>(range.last));
    };
    std::sort(children.begin(), children.end(),
              [&](const Range& a, const Range& b) { return earliest(a) > earliest(b); });
    open.insert(open.end(), children.begin(), children.end());
  };
  open_children(0, order.size(), 0, kNoNode);
  while (!open.empty()) {
    const Range range = open.back();
    open.pop_back();
    // In sorted order the first and the last differ the most.
    const std::size_t depth = common(at(range.first), at(range.last - 1), range.depth);
    const auto number = static_cast<std::int32_t>(nodes_.size());
    PrefixNode& node = nodes_.emplace_back();
    node.parent = range.parent;
    node.begin = static_cast<std::int64_t>(range.depth);
    node.tokens.assign(at(range.first).begin() + static_cast<std::ptrdiff_t>(range.depth),
                       at(range.first).begin() + static_cast<std::ptrdiff_t>(depth));
    // Those that end here are the shortest of the range, so they stand at its beginning.
    std::size_t first = range.first;
    for (; first < range.last && at(first).size() == depth; ++first) {
      node.sequences.push_back(order[first]);
      ends_[static_cast<std::size_t>(order[first])] = number;
    }
    open_children(first, range.last, depth, number);
  }
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    PrefixNode& node = nodes_[i];
    node.end = std::max(node.end, static_cast<std::int32_t>(i) + 1);
    if (node.parent != kNoNode) {
      PrefixNode& parent = nodes_[static_cast<std::size_t>(node.parent)];
      parent.end = std::max(parent.end, node.end);
    }
  }
}

std::int64_t PrefixTree::tokens() const {
  std::int64_t count = 0;
  for (const PrefixNode& node : nodes_) count += static_cast<std::int64_t>(node.tokens.size());
  return count;
}

}  // namespace orch::infer
