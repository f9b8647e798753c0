// A regular expression as Python's `re` has it, matched by PCRE2. Patterns and texts are hostile input: matching is
// bounded, and what takes too long counts as no match.
#pragma once

#include <cstdint>
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

/// A pattern that says when matching was given up, for those who must not take that for an answer. All that the matcher
/// does is counted, so that a search ends within a second or so on any text; that makes it several times slower.
class CountedPattern {
 public:
  /// Steps of the matcher and characters that it passed over, in one search: the same on every machine.
  static constexpr std::int64_t kMostWork = 20'000'000;

  static Result<CountedPattern> compile(std::string_view pattern);

  /// An error: it was given up, and nobody knows whether there is a match. `text` is UTF-8.
  using Found = Result<std::optional<Pattern::Match>>;
  Found first(std::string_view text) const { return search(text, Which::kFirst); }
  /// Of the matches that re.finditer() gives.
  Found last(std::string_view text) const { return search(text, Which::kLast); }
  /// As re.fullmatch().
  Found whole(std::string_view text) const { return search(text, Which::kWhole); }

 private:
  enum class Which { kFirst, kLast, kWhole };
  Found search(std::string_view text, Which which) const;

  std::string words_;  ///< as PCRE2 was given them
  std::int64_t step_cost_ = 1;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

}  // namespace orch::eval
