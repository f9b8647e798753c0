// Tokens that are found in a text before the model sees it: special ones, and words that were added to a vocabulary.
//
// The leftmost match counts, of several there the longest. Tokens that are not `normalized` are looked for in the text
// as it was given, the others afterwards in what the normalisers made of it, in the form that they make of the token.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/json_fields.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/vocabulary.h"

namespace orch::tokenizer {

struct AddedToken {
  std::string content;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< with the white space before it
  bool rstrip = false;       ///< with the white space behind it
  bool normalized = true;
  bool special = false;
  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

/// As tokenizer.json and tokenizer_config.json write one.
AddedToken read_added_token(const JsonFields& field);

class AddedTokens {
 public:
  /// Adds a token, or changes one that is there; its id is the one that the model's vocabulary has for it, or the next
  /// that is free. Empty ones are left out.
  std::optional<Error> add(AddedToken token, const Vocabulary& vocabulary);

  /// Makes ready to search. Call once after the last add().
  std::optional<Error> build(const std::vector<Normalizer>& normalizers);

  /// Settles the pieces of a passage that are tokens: of those to be found before the normalisers or behind them.
  void find(Passage& passage, bool normalized, MatchMemory& memory, std::vector<Piece>& spare) const;

  std::optional<TokenId> id(std::string_view content) const;
  /// The token with this id.
  const AddedToken* token(TokenId id) const;
  /// What a decoder is given for the id: the token's normalised form.
  std::optional<std::string_view> decoded(TokenId id) const;
  bool special(TokenId id) const;

  const std::map<TokenId, AddedToken>& all() const { return tokens_; }

 private:
  struct Searched {
    Trie trie;
    std::array<bool, 256> begins{};  ///< bytes that a token begins with
  };
  struct Entry {
    std::string decoded;
    bool special = false;
  };

  bool stands_alone(std::string_view text, std::size_t begin, std::size_t end, MatchMemory& memory) const;

  std::map<TokenId, AddedToken> tokens_;
  std::map<std::string, TokenId, std::less<>> ids_;
  std::map<std::string, bool, std::less<>> special_;  ///< contents that were ever special stay so
  std::unordered_map<TokenId, Entry> entries_;
  Searched given_;
  Searched normalized_;
  std::optional<Regex> word_;
};

}  // namespace orch::tokenizer
