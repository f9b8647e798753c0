// How a normalised text is cut into the words that the model sees: each kind of a tokenizer file's pre-tokenisers.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/split.h"

namespace orch::tokenizer {

struct ByteLevel {
  bool add_prefix_space = true;
  std::shared_ptr<const Regex> regex;  ///< GPT-2's, or none
};
struct SplitPattern {
  std::shared_ptr<const Regex> regex;
  Behavior behavior;
  bool inverted;
};
struct Digits {
  bool individual;
};
struct Punctuation {
  Behavior behavior;
};
struct WhitespaceSplit {};
struct BertPreTokenizer {};
struct Metaspace {
  enum class Scheme { kFirst, kNever, kAlways };
  char32_t replacement = 0x2581;
  Scheme scheme = Scheme::kAlways;
  bool split = true;
};
struct CharDelimiterSplit {
  char32_t delimiter;
};
struct UnicodeScripts {
  /// Where in a text the script is another one than before.
  std::shared_ptr<const Regex> runs;
};
struct FixedLength {
  std::size_t length;
};

using PreTokenizer = std::variant<ByteLevel, SplitPattern, Digits, Punctuation, WhitespaceSplit, BertPreTokenizer,
                                  Metaspace, CharDelimiterSplit, UnicodeScripts, FixedLength>;

/// GPT-2's pattern for words.
Result<Regex> gpt2_words();
/// Rust's `\w+|[^\w\s]+`.
Result<Regex> whitespace_words();
/// Runs of characters of one script.
Result<Regex> script_runs();

/// Cuts every open piece. The alphabet of a ByteLevel that comes last is left to the model where it `reads_bytes`.
/// False when a pattern took too many steps, or the text grew beyond bounds.
bool pre_tokenize(const std::vector<PreTokenizer>& steps, bool reads_bytes, Passage& passage, RewriteMemory& memory,
                  std::vector<Piece>& spare);

}  // namespace orch::tokenizer
