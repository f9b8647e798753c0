#include "infer/schedule.h"

#include <algorithm>

namespace orch::infer {

Result<Schedule> Schedule::make(const PrefixTree& tree, std::span<const std::int64_t> room,
                                const ScheduleRules& rules) {
  Schedule it(tree, rules);
  const std::vector<PrefixNode>& nodes = tree.nodes();
  it.nodes_.resize(nodes.size());
  it.children_.resize(nodes.size());
  it.written_behind_.resize(nodes.size());
  it.writing_.resize(room.size());
  for (std::size_t s = 0; s < room.size(); ++s) {
    Writing& writing = it.writing_[s];
    writing.node = tree.end_of(s);
    writing.room = room[s];
    writing.over = room[s] == 0;
    if (writing.over) continue;
    Node& node = it.nodes_[at(writing.node)];
    ++node.unfinished;
    node.below = std::max(node.below, it.pages_for(room[s]));
    it.written_behind_[at(writing.node)].push_back(static_cast<std::int32_t>(s));
  }
  for (std::size_t n = nodes.size(); n-- > 0;) {
    const auto number = static_cast<std::int32_t>(n);
    const std::int64_t all = it.pages_for(it.size_of(number)) + it.nodes_[n].below;
    if (const std::int32_t parent = nodes[n].parent; parent != kNoNode) {
      ++it.nodes_[at(parent)].unfinished;
      it.nodes_[at(parent)].below = std::max(it.nodes_[at(parent)].below, all);
      it.children_[at(parent)].push_back(number);
    } else if (all > rules.pages) {
      return Error{"a sequence needs " + std::to_string(all * rules.page_tokens) +
                   " tokens of the KV cache, which holds " +
                   std::to_string(static_cast<std::int64_t>(rules.pages) * rules.page_tokens)};
    } else {
      it.ready_.insert(number);
    }
  }
  return it;
}

bool Schedule::take(Holder of, std::int64_t count, std::int64_t wants, std::vector<std::int32_t>& pages) {
  if (count > pages_.free()) return false;
  Held& own = held_[of];
  const Held before = own;
  own = {own.pages + count, wants};
  std::int64_t free = pages_.free() - count;
  bool safe = true;
  for (auto each = held_.rbegin(); safe && each != held_.rend(); ++each) {
    safe = each->second.wants <= free;
    free += each->second.pages;
  }
  if (safe) {
    for (std::int64_t i = 0; i < count; ++i) pages.push_back(pages_.take());
  } else if (before.pages > 0) {
    own = before;
  } else {
    held_.erase(of);
  }
  return safe;
}

void Schedule::give_back(Holder of, std::vector<std::int32_t>& pages) {
  held_.erase(of);
  pages_.give_back(pages);
}

bool Schedule::open(std::int32_t number) {
  Node& node = nodes_[at(number)];
  if (!node.open) node.open = take(holder(number), pages_for(size_of(number)), node.below, node.pages);
  return node.open;
}

bool Schedule::grow(std::int32_t sequence) {
  Writing& writing = writing_[at(sequence)];
  const auto has = static_cast<std::int64_t>(writing.pages.size());
  if (writing.tokens == has * rules_.page_tokens &&
      !take(holder(writing.node, sequence), 1, pages_for(writing.room) - has - 1, writing.pages))
    return false;
  ++writing.tokens;
  return true;
}

void Schedule::close(std::int32_t number) {
  while (number != kNoNode) {
    Node& node = nodes_[at(number)];
    if (!node.open || node.unfinished > 0 || node.computed < size_of(number)) return;
    node.open = false;
    give_back(holder(number), node.pages);
    number = tree_->nodes()[at(number)].parent;
    if (number != kNoNode) --nodes_[at(number)].unfinished;
  }
}

void Schedule::finish_writing(std::int32_t sequence) {
  Writing& writing = writing_[at(sequence)];
  if (writing.over) return;
  writing.over = true;
  if (writing.waits) --waiting_;
  writing.waits = false;
  give_back(holder(writing.node, sequence), writing.pages);
  growing_.erase(sequence);
  --nodes_[at(writing.node)].unfinished;
  close(writing.node);
}

/// The step before is over: what stands behind its nodes is ready, and what nobody needs any more is free.
void Schedule::settle() {
  for (const Piece& piece : last_) {
    if (piece.writing >= 0) {
      const Writing& writing = writing_[at(piece.writing)];
      if (writing.tokens == writing.room) finish_writing(piece.writing);
      continue;
    }
    Node& node = nodes_[at(piece.node)];
    node.computed += piece.count;
    if (node.computed < size_of(piece.node)) continue;
    ready_.erase(piece.node);
    ready_.insert(children_[at(piece.node)].begin(), children_[at(piece.node)].end());
    close(piece.node);
  }
  last_.clear();
}

void Schedule::wait_for(std::int32_t sequence) {
  growing_.erase(sequence);
  writing_[at(sequence)].waits = true;
  ++waiting_;
}

void Schedule::know(std::int32_t sequence) {
  Writing& writing = writing_[at(sequence)];
  if (!writing.waits) return;
  writing.waits = false;
  --waiting_;
  growing_.insert(sequence);
}

std::vector<Piece> Schedule::next() {
  settle();
  std::int64_t tokens = 0;
  const auto full = [&] {
    return tokens >= rules_.max_tokens || static_cast<std::int64_t>(last_.size()) >= rules_.max_sequences;
  };
  // Sequences that are being written come first: they are nearest to their end. Then nodes in their order, depth first.
  const auto alive = static_cast<std::int64_t>(growing_.size()) + waiting_;
  const std::int64_t at_once = (alive + rules_.flights - 1) / rules_.flights;
  for (const std::int32_t sequence : growing_) {
    if (full() || static_cast<std::int64_t>(last_.size()) >= at_once) break;
    if (!grow(sequence)) continue;
    last_.push_back({writing_[at(sequence)].node, 0, 1, sequence});
    ++tokens;
  }
  for (const std::int32_t number : ready_) {
    if (full()) break;
    if (!open(number)) continue;
    const std::int64_t computed = nodes_[at(number)].computed;
    const std::int64_t count = std::min(size_of(number) - computed, rules_.max_tokens - tokens);
    last_.push_back({number, computed, count, -1});
    tokens += count;
  }
  for (const Piece& piece : last_) {
    if (piece.writing >= 0)
      wait_for(piece.writing);
    else if (piece.from + piece.count == size_of(piece.node))
      for (const std::int32_t sequence : written_behind_[at(piece.node)])
        if (!writing_[at(sequence)].over) wait_for(sequence);
  }
  return last_;
}

}  // namespace orch::infer
