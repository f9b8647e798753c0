// SentencePiece's compiled normalisation rules: a double array trie, and the texts that its values point at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::tokenizer {

class Charsmap {
 public:
  /// From the bytes of a `precompiled_charsmap`.
  static Result<Charsmap> read(std::string_view bytes);

  /// What stands for the text by the rule for its shortest beginning that has one: the reference library's choice.
  std::optional<std::string_view> replacement(std::string_view text) const;

 private:
  std::vector<std::uint32_t> units_;
  std::string texts_;  ///< each ended by a NUL
};

/// The bytes of base64, or nothing when it is not that.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace orch::tokenizer
