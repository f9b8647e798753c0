// Byte pair encoding: a word begins as its characters (or bytes), and the pair that was learned first is merged, from
// left to right, until no pair is known.
//
// Short words are merged by looking at all pairs, long ones with a heap: a megabyte without a space takes linear times
// logarithmic time. Words are remembered with their tokens, since most words of a text come again.
//
// A model without pre-tokeniser (Llama 2) sees a text as one word. Where no merge makes a token that has U+2581 behind
// another character, no token can cross such a place, so the text is cut there and gives the same tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/token_sink.h"
#include "model/tokenizer/vocabulary.h"

namespace orch::tokenizer {

struct BpeOptions {
  std::optional<std::string> unknown;  ///< the piece for what is not known; without one it is left out
  std::string prefix;                  ///< of every symbol but a word's first
  std::string suffix;                  ///< of a word's last symbol
  bool fuse_unknown = false;           ///< several unknown symbols in a row are one
  bool byte_fallback = false;          ///< an unknown character is its bytes, <0x00>
  bool ignore_merges = false;          ///< a word that is a piece is that piece
};

/// What one thread needs to encode with: working memory, and the words it has seen.
class BpeMemory {
 public:
  struct Symbol {
    TokenId id;
    std::uint32_t size;
  };
  struct Known {
    static constexpr std::size_t kLongest = 28;
    static constexpr std::size_t kMostTokens = 6;
    std::array<char, kLongest> word;
    std::uint8_t word_size;  ///< 0: nothing here
    std::uint8_t count;
    std::array<std::uint8_t, kMostTokens> sizes;
    std::array<TokenId, kMostTokens> ids;
  };

  std::vector<Symbol> symbols;

 private:
  friend class Bpe;
  struct Link {
    TokenId id;
    std::uint32_t size;
    std::int32_t before;
    std::int32_t behind;
  };
  struct Candidate {
    std::uint64_t order;  ///< rank, then place
    TokenId merged;
  };
  std::vector<Link> links_;
  std::vector<Candidate> heap_;
  std::vector<Known> known_ = std::vector<Known>(1 << 14);
};

class Bpe {
 public:
  using Merge = std::pair<std::string_view, std::string_view>;
  /// The merges, first learned first.
  static Result<Bpe> make(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Whether bytes can be encoded as they are, as if each were its character of GPT-2's alphabet.
  bool reads_bytes() const { return reads_bytes_; }

  /// Encodes a word that is not empty: of text, or (`bytes`) of bytes for GPT-2's alphabet.
  void encode(std::string_view word, bool bytes, BpeMemory& memory, TokenSink& sink) const;

 private:
  struct Pair {
    std::uint64_t key = kNoPair;
    std::uint32_t rank = 0;
    TokenId merged = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};
  static constexpr TokenId kNoId = 0xFFFFFFFF;

  void put_pair(std::uint64_t key, std::uint32_t rank, TokenId merged);
  const Pair* pair(TokenId left, TokenId right) const {
    const std::uint64_t key = std::uint64_t{left} << 32 | right;
    for (std::size_t at = slot_of(key);; at = (at + 1) & pair_mask_) {
      if (pairs_[at].key == key) return &pairs_[at];
      if (pairs_[at].key == kNoPair) return nullptr;
    }
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> 24) & pair_mask_;
  }
  void learn_alphabet();
  void learn_boundaries(const std::vector<Merge>& merges);
  std::optional<TokenId> id_of(std::string_view character) const;
  void encode_word(std::string_view word, bool bytes, BpeMemory& memory, TokenSink& sink) const;
  void begin_word(std::string_view word, bool bytes, std::vector<BpeMemory::Symbol>& symbols) const;
  void merge_short(std::vector<BpeMemory::Symbol>& symbols) const;
  void merge_long(BpeMemory& memory) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<TokenId> unknown_;
  std::vector<Pair> pairs_;
  std::size_t pair_mask_ = 0;
  std::array<TokenId, 128> ascii_{};     ///< ids of characters
  std::array<TokenId, 256> byte_ids_{};  ///< ids of the characters that stand for bytes
  std::array<TokenId, 256> fallback_{};  ///< ids of <0x00> to <0xFF>
  bool reads_bytes_ = false;
  bool cut_at_spaces_ = false;
  std::optional<Vocabulary> words_;  ///< pieces as bytes, for ignore_merges
};

}  // namespace orch::tokenizer
