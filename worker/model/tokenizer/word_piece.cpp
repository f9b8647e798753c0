#include "model/tokenizer/word_piece.h"

#include <algorithm>

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {

WordPiece::WordPiece(Vocabulary vocabulary, std::string_view unknown, std::string_view prefix,
                     std::size_t most_characters)
    : vocabulary_(std::move(vocabulary)), unknown_(vocabulary_.id(unknown)), most_characters_(most_characters) {
  for (TokenId id = 0; id < vocabulary_.ids(); ++id)
    if (const auto piece = vocabulary_.piece(id)) trie_.add(*piece, id);
  going_on_ = trie_.walk(Trie::kRoot, prefix);
}

bool WordPiece::encode(std::string_view word, TokenSink& sink) const {
  const auto characters =
      static_cast<std::size_t>(std::count_if(word.begin(), word.end(), [](char byte) { return !continues(byte); }));
  const std::size_t before = sink.ids.size();
  const std::size_t places_before = sink.places ? sink.places->size() : 0;
  std::size_t begin = 0;
  while (characters <= most_characters_ && begin < word.size()) {
    std::uint32_t node = begin == 0 ? Trie::kRoot : going_on_;
    std::size_t longest = begin;
    TokenId id = 0;
    for (std::size_t end = begin; end < word.size() && node != Trie::kNone;) {
      node = trie_.step(node, word[end++]);
      if (node == Trie::kNone || trie_.value(node) == Trie::kNone) continue;
      longest = end;
      id = trie_.value(node);
    }
    if (longest == begin) break;
    sink.add(id, begin, longest);
    begin = longest;
  }
  if (begin == word.size()) return true;
  sink.ids.resize(before);
  if (sink.places) sink.places->resize(places_before);
  if (!unknown_) return false;
  sink.add(*unknown_, 0, word.size());
  return true;
}

bool WordLevel::encode(std::string_view word, TokenSink& sink) const {
  auto id = vocabulary_.id(word);
  if (!id) id = unknown_;
  if (!id) return false;
  sink.add(*id, 0, word.size());
  return true;
}

}  // namespace orch::tokenizer
