// What is computed in the next step: pieces of the prefix tree, parents before children, and a token for each sequence
// that is being written.
//
// Holds:
//  - Each token of the tree is computed once, after its node's earlier ones and its parent.
//  - A step has at most max_tokens tokens.
//  - There is always a way to the end: what holds pages could be finished one after another, the deepest first, each
//  with
//    what is free and what those before it gave back. So nothing that was begun is ever thrown away for want of pages.
//  - The same calls give the same steps: ranks that share a model need not agree on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "infer/pages.h"
#include "infer/prefix_tree.h"

namespace orch::infer {

struct ScheduleRules {
  std::int64_t max_tokens = 512;    ///< of a step
  std::int64_t max_sequences = 64;  ///< pieces and growing sequences of a step
  std::int32_t pages = 0;
  int page_tokens = 16;
  /// Steps that are on their way at once, of a pipeline as many as it has stages: sequences that are being written are
  /// spread over so many steps, since each waits for its last token.
  int flights = 1;
};

/// Some tokens of a node, or the next token of a sequence that is being written behind it.
struct Piece {
  std::int32_t node = kNoNode;
  std::int64_t from = 0;  ///< in the node
  std::int64_t count = 0;
  std::int32_t writing = -1;  ///< number of the sequence, of which `count` is 1
};

class Schedule {
 public:
  /// `room`: how many tokens may be written behind each sequence of the tree; 0: it is only read. An error says that
  /// one does not fit into all the pages there are.
  static Result<Schedule> make(const PrefixTree& tree, std::span<const std::int64_t> room, const ScheduleRules& rules);

  /// The next step, whose nodes count as computed when it is asked for the one after. Empty: all is done, or waits for
  /// tokens.
  std::vector<Piece> next();
  /// The sequence's token behind all that was computed of it is known: it can go on.
  void know(std::int32_t sequence);
  /// Whether some sequence waits for its token.
  bool waits() const { return waiting_ > 0; }
  /// A sequence has its last token before its room is full.
  void finish_writing(std::int32_t sequence);

  /// Pages of a node, or behind a sequence, in the order of positions: those of the pieces of this step are there.
  const std::vector<std::int32_t>& node_pages(std::int32_t node) const { return nodes_[at(node)].pages; }
  const std::vector<std::int32_t>& written_pages(std::int32_t sequence) const { return writing_[at(sequence)].pages; }
  /// Tokens behind a sequence that are computed or in this step.
  std::int64_t written(std::int32_t sequence) const { return writing_[at(sequence)].tokens; }
  std::int64_t free_pages() const { return pages_.free(); }

 private:
  struct Node {
    std::vector<std::int32_t> pages;
    std::int64_t computed = 0;
    std::int64_t below = 0;       ///< pages that the hungriest path below it wants
    std::int32_t unfinished = 0;  ///< children and written sequences that are not over
    bool open = false;
  };
  struct Writing {
    std::int32_t node = kNoNode;
    std::vector<std::int32_t> pages;
    std::int64_t tokens = 0, room = 0;
    bool waits = false;  ///< for its token
    bool over = false;
  };

  Schedule(const PrefixTree& tree, const ScheduleRules& rules) : tree_(&tree), rules_(rules), pages_(rules.pages) {}
  static std::size_t at(std::int32_t number) { return static_cast<std::size_t>(number); }
  std::int64_t pages_for(std::int64_t tokens) const { return (tokens + rules_.page_tokens - 1) / rules_.page_tokens; }
  std::int64_t size_of(std::int32_t node) const {
    return static_cast<std::int64_t>(tree_->nodes()[at(node)].tokens.size());
  }

  /// Who holds pages, in the order in which they could be finished, from the last on: a node, then what is written
  /// behind it, then what stands below it.
  using Holder = std::pair<std::int32_t, std::int32_t>;
  static Holder holder(std::int32_t node, std::int32_t sequence = -1) { return {node, sequence}; }
  struct Held {
    std::int64_t pages = 0;
    std::int64_t wants = 0;  ///< more at most, before it can give all back
  };
  /// Takes pages for a holder that then wants `wants` more, if there is a way to the end afterwards.
  bool take(Holder of, std::int64_t count, std::int64_t wants, std::vector<std::int32_t>& pages);
  void give_back(Holder of, std::vector<std::int32_t>& pages);
  bool grow(std::int32_t sequence);
  bool open(std::int32_t node);
  void settle();
  /// The step that is given out now ends with what the sequence's next token is drawn from.
  void wait_for(std::int32_t sequence);
  void close(std::int32_t node);

  const PrefixTree* tree_;
  ScheduleRules rules_;
  Pages pages_;
  std::vector<Node> nodes_;
  std::vector<Writing> writing_;
  std::vector<std::vector<std::int32_t>> children_, written_behind_;  ///< of each node
  std::map<Holder, Held> held_;
  std::set<std::int32_t> ready_;    ///< nodes whose parent is computed and that are not themselves
  std::set<std::int32_t> growing_;  ///< sequences whose last token is known and that are not over
  std::int64_t waiting_ = 0;        ///< sequences that are computed but for a token that is not known
  std::vector<Piece> last_;
};

}  // namespace orch::infer
