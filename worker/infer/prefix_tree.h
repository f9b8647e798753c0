// The tokens of many sequences as a tree, so that what several begin with is computed once: a few-shot prefix, the
// questions behind it, the answers behind each.
//
// Holds:
//  - Each node has at least one token, and no two children of a node begin with the same one (unless nothing is shared,
//    and each sequence is a root).
//  - Nodes are numbered depth first, children in the order of their first sequence: a node's number is above its
//    parent's, and a subtree's numbers follow each other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orch::infer {

inline constexpr std::int32_t kNoNode = -1;

struct PrefixNode {
  std::int32_t parent = kNoNode;
  std::int64_t begin = 0;  ///< position of its first token
  std::vector<std::int32_t> tokens;
  std::int32_t end = 0;                 ///< the number behind its subtree's
  std::vector<std::int32_t> sequences;  ///< that end with its last token

  std::int64_t length() const { return begin + static_cast<std::int64_t>(tokens.size()); }
};

class PrefixTree {
 public:
  /// Of sequences of at least one token each; equal ones are one path. Without `shares` each is a root of its own.
  explicit PrefixTree(std::span<const std::vector<std::int32_t>> sequences, bool shares = true);

  const std::vector<PrefixNode>& nodes() const { return nodes_; }
  /// The node in which a sequence ends.
  std::int32_t end_of(std::size_t sequence) const { return ends_[sequence]; }
  std::size_t sequences() const { return ends_.size(); }
  /// Tokens of all nodes: what is computed instead of the sequences' tokens.
  std::int64_t tokens() const;

 private:
  std::vector<PrefixNode> nodes_;
  std::vector<std::int32_t> ends_;
};

}  // namespace orch::infer
