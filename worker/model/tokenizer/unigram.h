// The unigram model: of all ways to cut a text into pieces, the one whose pieces' scores have the largest sum.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/token_sink.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/vocabulary.h"

namespace orch::tokenizer {

/// What one thread needs to encode with.
struct UnigramMemory {
  struct Step {
    double score = 0;
    std::uint32_t begin = 0;
    TokenId id = 0xFFFFFFFF;  ///< none: no way leads here
  };
  std::vector<Step> best;  ///< by where it ends
  std::vector<std::pair<Span, TokenId>> parts;
};

class Unigram {
 public:
  /// `scores` are by id.
  static Result<Unigram> make(Vocabulary vocabulary, std::vector<double> scores, std::optional<TokenId> unknown,
                              bool byte_fallback);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Encodes a text that is not empty. False when it has an unknown character and the model no piece for it.
  bool encode(std::string_view text, UnigramMemory& memory, TokenSink& sink) const;

 private:
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  std::optional<TokenId> unknown_;
  Trie trie_;
  double unknown_score_ = 0;
  std::optional<std::array<std::optional<TokenId>, 256>> fallback_;
};

}  // namespace orch::tokenizer
