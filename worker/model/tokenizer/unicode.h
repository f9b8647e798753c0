// What Unicode says of characters, from utf8proc: small (0.3 MB against ICU's 30 MB of data, which a tarball would have
// to carry), plain C, in Debian, and it gives properties, decompositions and cluster breaks a character at a time,
// which is what keeping the places of characters through a normalisation needs.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace orch::tokenizer {

bool is_space(char32_t c);        ///< White_Space
bool is_numeric(char32_t c);      ///< Nd, Nl, No
bool is_punctuation(char32_t c);  ///< P* or one of ASCII's symbols, as BERT has it
bool is_mark(char32_t c);         ///< Mn, Mc, Me
bool is_nonspacing(char32_t c);   ///< Mn
bool is_other(char32_t c);        ///< Cc, Cf, Co
bool is_chinese(char32_t c);      ///< BERT's blocks of CJK ideographs

/// The character in lower case: one or two.
struct Lowered {
  std::array<char32_t, 2> chars;
  int count;
};
Lowered lowered(char32_t c);

/// A character of a changed text, and what it stands for in the text before: `change` is 0 where it replaces one
/// character, 1 where it was inserted, and -n where it replaces one and the n after it are gone.
struct Change {
  char32_t value;
  int change;
};

enum class Form { kNfc, kNfd, kNfkc, kNfkd };

/// The normal form of sound UTF-8. False, and nothing done, where it is the text itself.
bool normal_form(std::string_view text, Form form, std::vector<Change>& out);

/// Where the extended grapheme cluster that begins at `at` ends.
std::size_t cluster_end(std::string_view text, std::size_t at);

}  // namespace orch::tokenizer
