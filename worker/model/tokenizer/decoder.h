// From tokens back to text: each kind of a tokenizer file's decoders.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/pre_tokenizer.h"

namespace orch::tokenizer {

struct ByteLevelDecoder {};     ///< characters of GPT-2's alphabet are bytes
struct ByteFallbackDecoder {};  ///< <0x00> is a byte
struct FuseDecoder {};          ///< all are one
struct MetaspaceDecoder {
  char32_t replacement;
  bool prepended;  ///< the first one was put there, and goes
};
struct StripDecoder {
  char32_t content;
  std::size_t start;  ///< at most so many are taken from the beginning
  std::size_t stop;   ///< and from the end
};
struct WordPieceDecoder {
  std::string prefix;
  bool cleanup;
};
struct BpeDecoder {
  std::string suffix;
};
struct CtcDecoder {
  std::string pad_token;
  std::string word_delimiter_token;
  bool cleanup;
};

using Decoder = std::variant<ByteLevelDecoder, ByteFallbackDecoder, FuseDecoder, MetaspaceDecoder, Replace,
                             StripDecoder, WordPieceDecoder, BpeDecoder, CtcDecoder>;

/// Joins what the decoders make of the tokens. Nothing when a pattern took too many steps.
std::optional<std::string> decode(const std::vector<Decoder>& steps, std::vector<std::string> tokens);

}  // namespace orch::tokenizer
