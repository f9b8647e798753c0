// What is done to the tokens of a text once they are known: places without the spaces around them, special tokens
// before and behind.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "model/tokenizer/passage.h"

namespace orch::tokenizer {

/// Places without the white space at their ends. A space that was put before a text's first word is not cut off.
struct TrimPlaces {
  bool add_prefix_space;
};
/// Tokens before, between and behind the text's own.
struct Template {
  struct Part {
    bool text = false;         ///< here stand the text's tokens
    std::vector<TokenId> ids;  ///< else these
  };
  std::vector<Part> parts;
};

using PostProcessor = std::variant<TrimPlaces, Template>;

/// How much white space the token's text has at its ends, in characters.
struct Edges {
  std::uint32_t leading = 0;
  std::uint32_t trailing = 0;
};
Edges edges_of(std::string_view token);

/// A text's tokens.
struct Tokens {
  bool placed = false;  ///< whether places are wanted: then there are as many as ids
  bool edged = false;   ///< the same of edges
  std::vector<TokenId> ids;
  std::vector<Span> places;
  std::vector<Edges> edges;
};

void post_process(const std::vector<PostProcessor>& steps, std::string_view given, bool add_special, Tokens& tokens);

}  // namespace orch::tokenizer
