// The models that cut words into tokens.
#pragma once

#include <variant>

#include "model/tokenizer/bpe.h"
#include "model/tokenizer/unigram.h"
#include "model/tokenizer/word_piece.h"

namespace orch::tokenizer {

using Model = std::variant<Bpe, Unigram, WordPiece, WordLevel>;

inline const Vocabulary& vocabulary_of(const Model& model) {
  return std::visit([](const auto& kind) -> const Vocabulary& { return kind.vocabulary(); }, model);
}

}  // namespace orch::tokenizer
