// Where a model puts a piece's tokens.
#pragma once

#include <vector>

#include "model/tokenizer/passage.h"

namespace orch::tokenizer {

struct TokenSink {
  std::vector<TokenId>& ids;
  /// The bytes of the piece that each token stands for; not kept when nobody asks.
  std::vector<Span>* places = nullptr;

  void add(TokenId id, std::size_t begin, std::size_t end) {
    ids.push_back(id);
    if (places) places->push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
  }
};

}  // namespace orch::tokenizer
