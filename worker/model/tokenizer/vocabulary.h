// The pieces of a model and their ids.
//
// Holds:
//  - A piece has one id and an id one piece; ids may have holes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/passage.h"

namespace orch::tokenizer {

class Vocabulary {
 public:
  /// Beyond the largest vocabulary that there is, ten times; ids are indices into tables.
  static constexpr TokenId kMostIds = 4'000'000;

  static constexpr std::size_t kLongestPiece = 4096;  ///< bytes

  /// Adds a piece; an error says what is wrong with it.
  std::optional<Error> add(std::string_view piece, TokenId id);

  std::optional<TokenId> id(std::string_view piece) const;
  /// The piece with this id, or nothing for a hole.
  std::optional<std::string_view> piece(TokenId id) const;

  std::size_t size() const { return ends_.size(); }        ///< how many pieces
  std::size_t ids() const { return entry_of_id_.size(); }  ///< one more than the largest id

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::string_view entry(std::uint32_t index) const {
    const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(bytes_).substr(begin, ends_[index] - begin);
  }
  std::size_t find(std::string_view piece) const;  ///< its slot, or the empty one where it would be
  void grow();

  std::string bytes_;                       ///< all pieces, one behind the other
  std::vector<std::size_t> ends_;           ///< of each entry, in bytes_
  std::vector<TokenId> id_of_entry_;        ///< by entry
  std::vector<std::uint32_t> entry_of_id_;  ///< by id
  std::vector<std::uint32_t> slots_ = std::vector<std::uint32_t>(16, kNone);
};

}  // namespace orch::tokenizer
