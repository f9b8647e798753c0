// A regular expression as Python's `re` has it, matched by PCRE2. Patterns and texts are hostile input: matching is
// bounded, and what takes too long counts as no match.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct pcre2_real_code_8;

namespace orch::eval {

class Pattern {
 public:
  /// An error for what PCRE2 does not know.
  static Result<Pattern> compile(std::string_view pattern);

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::vector<std::string> groups;  ///< from the first; a group that took no part is empty
  };

  /// All matches, from left to right and apart from each other, as re.finditer() gives them; at most `most`.
  std::vector<Match> find_all(std::string_view text, std::size_t most = kMostMatches) const;
  std::optional<Match> find(std::string_view text) const;
  /// As re.sub() with a text that is taken as it is.
  std::string replaced(std::string_view text, std::string_view by = {}) const;

 private:
  static constexpr std::size_t kMostMatches = 1'000'000;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

}  // namespace orch::eval
