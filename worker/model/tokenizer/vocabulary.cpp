#include "model/tokenizer/vocabulary.h"

#include <functional>

#include "base/text.h"

namespace orch::tokenizer {

std::size_t Vocabulary::find(std::string_view piece) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = std::hash<std::string_view>{}(piece)&mask;
  while (slots_[at] != kNone && entry(slots_[at]) != piece) at = (at + 1) & mask;
  return at;
}

void Vocabulary::grow() {
  slots_.assign(slots_.size() * 2, kNone);
  for (std::uint32_t i = 0; i < ends_.size(); ++i) slots_[find(entry(i))] = i;
}

std::optional<Error> Vocabulary::add(std::string_view piece, TokenId id) {
  if (id >= kMostIds)
    return Error{"the id of " + quote(piece) + " is " + std::to_string(id) + "; at most 3,999,999 is read"};
  if (piece.size() > kLongestPiece) return Error{"the piece " + quote(piece) + " is longer than 4,096 bytes"};
  const std::size_t slot = find(piece);
  if (slots_[slot] != kNone) return Error{"the piece " + quote(piece) + " stands there twice"};
  if (const auto other = this->piece(id))
    return Error{"the id " + std::to_string(id) + " is that of two pieces, " + quote(*other) + " and " + quote(piece)};
  const auto index = static_cast<std::uint32_t>(ends_.size());
  bytes_ += piece;
  ends_.push_back(bytes_.size());
  id_of_entry_.push_back(id);
  if (id >= entry_of_id_.size()) entry_of_id_.resize(id + 1, kNone);
  entry_of_id_[id] = index;
  slots_[slot] = index;
  if (ends_.size() * 2 > slots_.size()) grow();
  return std::nullopt;
}

std::optional<TokenId> Vocabulary::id(std::string_view piece) const {
  const std::uint32_t index = slots_[find(piece)];
  if (index == kNone) return std::nullopt;
  return id_of_entry_[index];
}

std::optional<std::string_view> Vocabulary::piece(TokenId id) const {
  if (id >= entry_of_id_.size() || entry_of_id_[id] == kNone) return std::nullopt;
  return entry(entry_of_id_[id]);
}

}  // namespace orch::tokenizer
