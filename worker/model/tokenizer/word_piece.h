// Models that look words up: WordPiece cuts each word into the longest pieces from the left, WordLevel takes it whole.
#pragma once

#include <optional>
#include <string>

#include "model/tokenizer/token_sink.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/vocabulary.h"

namespace orch::tokenizer {

class WordPiece {
 public:
  /// `prefix` marks the pieces that go on with a word; a word of more than `most_characters` is unknown.
  WordPiece(Vocabulary vocabulary, std::string_view unknown, std::string_view prefix, std::size_t most_characters);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// False when the word is unknown and there is no piece for that.
  bool encode(std::string_view word, TokenSink& sink) const;

 private:
  Vocabulary vocabulary_;
  std::optional<TokenId> unknown_;
  std::size_t most_characters_;
  Trie trie_;
  std::uint32_t going_on_;  ///< where the trie's pieces with the prefix begin
};

class WordLevel {
 public:
  WordLevel(Vocabulary vocabulary, std::string_view unknown)
      : vocabulary_(std::move(vocabulary)), unknown_(vocabulary_.id(unknown)) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  bool encode(std::string_view word, TokenSink& sink) const;

 private:
  Vocabulary vocabulary_;
  std::optional<TokenId> unknown_;
};

}  // namespace orch::tokenizer
