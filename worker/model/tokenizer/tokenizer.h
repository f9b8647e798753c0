// A model's tokenizer: text to token ids and back, as the files that were published with the model say.
//
// Holds:
//  - A tokenizer does not change once it is opened. Any number of threads may use one.
//  - Whatever the bytes of a text, encoding gives tokens or an error, in bounded time: bytes that are not UTF-8
//    are read as U+FFFD, one for each broken sequence, as Python's decode(errors="replace") does.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/passage.h"
#include "model/tokenizer/specials.h"

namespace orch::tokenizer {

/// Tokens and where each stands: bytes of the text that was given. A special token that was put there has none.
struct Encoding {
  std::vector<TokenId> ids;
  std::vector<Span> places;
};

class Tokenizer {
 public:
  /// The tokenizer of a model's folder: tokenizer.json, or vocab.json with merges.txt; with what tokenizer_config.json,
  /// special_tokens_map.json and generation_config.json add.
  static Result<Tokenizer> open(const std::filesystem::path& folder);
  /// The tokenizer in the text of a tokenizer.json; `name` is what errors call it.
  static Result<Tokenizer> parse(std::string_view tokenizer_json, const std::string& name);

  /// `add_special`: with the tokens that the file puts before and behind a text.
  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special = true) const;
  Result<Encoding> encode_with_places(std::string_view text, bool add_special = true) const;

  /// The text of the ids; ids that stand for nothing are left out, special ones where they are not wanted.
  Result<std::string> decode(std::span<const TokenId> ids, bool skip_special = true) const;

  std::optional<std::string> piece(TokenId id) const;
  std::optional<TokenId> id(std::string_view piece) const;
  bool special(TokenId id) const;

  /// How many pieces there are, added ones included.
  std::size_t size() const;
  /// One more than the largest id.
  std::size_t ids() const;

  const Specials& specials() const;
  /// What a reader of the files may want to know, though nothing is wrong.
  const std::vector<std::string>& remarks() const;

 private:
  struct Body;
  explicit Tokenizer(std::shared_ptr<const Body> body) : body_(std::move(body)) {}
  std::shared_ptr<const Body> body_;
};

/// Text of ids that come one by one, given out as soon as its characters are whole.
class TokenStream {
 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  /// The text that this id adds: nothing while a character is incomplete.
  Result<std::string> push(TokenId id);
  /// What is left at the end: U+FFFD for characters that were never whole.
  Result<std::string> finish();

 private:
  Result<std::string> news(bool all);

  Tokenizer tokenizer_;
  bool skip_special_;
  std::vector<TokenId> ids_;  ///< the last ids whose text was given out, as context, and those that came since
  std::size_t given_ = 0;     ///< how many of them are context
};

}  // namespace orch::tokenizer
