// What a step's pieces are in numbers: the arrays that the decoder reads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/schedule.h"

namespace orch::infer {

/// Last tokens of the sequences that are being written.
using LastTokens = std::vector<std::int32_t>;

struct StepArrays {
  std::vector<std::int32_t> tokens, positions, slots;
  std::vector<std::int32_t> starts, lengths;  ///< of each piece: its first row, and of its sequence all tokens so far
  std::vector<std::int32_t> table;            ///< triples (page, first slot, count), `width` of them a piece
  std::int64_t width = 0, max_rows = 0, max_length = 0;

  std::int64_t rows() const { return static_cast<std::int64_t>(tokens.size()); }
  std::int64_t pieces() const { return static_cast<std::int64_t>(lengths.size()); }
};

StepArrays arrays_of(std::span<const Piece> pieces, const PrefixTree& tree, const Schedule& schedule,
                     const LastTokens& last, int page_tokens);

}  // namespace orch::infer
