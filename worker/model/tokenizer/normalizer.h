// What is done to a text before it is cut: each kind of a tokenizer file's normalisers, as a small value.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/passage.h"
#include "model/tokenizer/regex.h"

namespace orch::tokenizer {

struct UnicodeForm {
  Form form;
};
struct Lowercase {};
struct StripSpace {
  bool left;
  bool right;
};
struct StripAccents {};
struct Replace {
  std::string literal;  ///< what is replaced; empty where `regex` says it
  std::shared_ptr<const Regex> regex;
  std::string content;
};
struct Prepend {
  std::string text;
};
struct BertNormalizer {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
struct Nmt {};
struct ByteAlphabet {};  ///< every byte becomes its character of GPT-2's alphabet

using Normalizer = std::variant<UnicodeForm, Lowercase, StripSpace, StripAccents, Replace, Prepend, BertNormalizer, Nmt,
                                Charsmap, ByteAlphabet>;

/// What a thread needs to rewrite with.
struct RewriteMemory {
  std::vector<Change> changes;
  MatchMemory match;
};

/// Normalises every open piece. False when a pattern took too many steps, or the text grew beyond bounds.
bool normalize(const std::vector<Normalizer>& steps, Passage& passage, RewriteMemory& memory);

/// As one step of a normaliser; pre-tokenisers and decoders replace, too.
bool replace(const Replace& step, Passage& passage, RewriteMemory& memory);
void prepend(std::string_view text, std::string_view piece, Passage::Writer& writer);
void to_byte_alphabet(Passage& passage);

}  // namespace orch::tokenizer
