#include "infer/step_arrays.h"

#include <algorithm>

namespace orch::infer {
namespace {

std::size_t at(std::int64_t number) { return static_cast<std::size_t>(number); }

/// `tokens` tokens that lie in these pages, as triples.
void add_pages(const std::vector<std::int32_t>& pages, std::int64_t tokens, int page_tokens,
               std::vector<std::int32_t>& table) {
  for (std::size_t i = 0; tokens > 0; ++i, tokens -= page_tokens)
    table.insert(table.end(), {pages[i], 0, static_cast<std::int32_t>(std::min<std::int64_t>(tokens, page_tokens))});
}

}  // namespace

StepArrays arrays_of(std::span<const Piece> pieces, const PrefixTree& tree, const Schedule& schedule,
                     const LastTokens& last, int page_tokens) {
  StepArrays it;
  it.starts.push_back(0);
  std::vector<std::vector<std::int32_t>> tables;
  std::vector<std::int32_t> path;
  for (const Piece& piece : pieces) {
    const PrefixNode& node = tree.nodes()[at(piece.node)];
    path.clear();
    for (std::int32_t up = piece.node; up != kNoNode; up = tree.nodes()[at(up)].parent) path.push_back(up);
    std::vector<std::int32_t>& table = tables.emplace_back();
    for (auto each = path.rbegin(); each != path.rend(); ++each)
      add_pages(schedule.node_pages(*each), static_cast<std::int64_t>(tree.nodes()[at(*each)].tokens.size()),
                page_tokens, table);

    const bool writes = piece.writing >= 0;
    const std::int64_t written = writes ? schedule.written(piece.writing) : 0;
    if (writes) add_pages(schedule.written_pages(piece.writing), written, page_tokens, table);
    const std::vector<std::int32_t>& pages =
        writes ? schedule.written_pages(piece.writing) : schedule.node_pages(piece.node);
    // Of what is written the last token is computed now.
    const std::int64_t from = writes ? written - 1 : piece.from, begin = writes ? node.length() : node.begin;
    for (std::int64_t i = from; i < from + piece.count; ++i) {
      it.tokens.push_back(writes ? last[at(piece.writing)] : node.tokens[at(i)]);
      it.positions.push_back(static_cast<std::int32_t>(begin + i));
      it.slots.push_back(pages[at(i / page_tokens)] * page_tokens + static_cast<std::int32_t>(i % page_tokens));
    }
    const std::int64_t length = begin + from + piece.count;
    it.starts.push_back(static_cast<std::int32_t>(it.tokens.size()));
    it.lengths.push_back(static_cast<std::int32_t>(length));
    it.width = std::max(it.width, static_cast<std::int64_t>(table.size() / 3));
    it.max_rows = std::max(it.max_rows, piece.count);
    it.max_length = std::max(it.max_length, length);
  }
  it.table.reserve(tables.size() * at(it.width) * 3);
  for (const std::vector<std::int32_t>& table : tables) {
    it.table.insert(it.table.end(), table.begin(), table.end());
    it.table.resize(it.table.size() + at(it.width) * 3 - table.size());
  }
  return it;
}

}  // namespace orch::infer
