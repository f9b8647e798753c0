// JSON from strangers, as a tree: nlohmann's parser, and what it lets pass.
//
// Holds:
//  - A key that stands twice in one object is a fault: which of the two counts would be chance.
//  - Nesting is bounded, so that whoever walks the tree may call itself. The parser itself does not.
//  - Memory is bounded by the text's size and the number of values: an empty object takes 30 times its text.
//  - Time is that of sorting the keys, however many an object has.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace orch::train {

struct JsonFault {
  std::size_t at = 0;  ///< byte of the text, as far as that is known
  std::string what;
  bool is_cut = false;  ///< the text ends in the middle
};

struct JsonLimits {
  std::size_t depth = 64;
  std::size_t values = 1'000'000;
};

Result<nlohmann::ordered_json, JsonFault> parse_strict(std::string_view text, const JsonLimits& limits);

/// Adds a field to an object that does not have it. nlohmann's own ways compare the key with all that are there.
void append(nlohmann::ordered_json& object, std::string key, nlohmann::ordered_json value);

}  // namespace orch::train
