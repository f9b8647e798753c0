// Rewards by rules: a YAML file says what is looked for in a completion, and what that is worth.
//
//   kind     | score of a completion, from 0 to 1
//   ---------+-----------------------------------------------------------------------------------------------
//   contains | 1 if a text stands in it
//   lacks    | 1 if it does not
//   matches  | 1 if a pattern matches somewhere in it; `whole`: if it matches all of it
//   equals   | 1 if the answer that is taken from it is the one that a field of its row holds
//   length   | 1 from `least` to `most` tokens or characters, 1 − distance / `slack` beyond, never below 0
//   ended    | 1 if it ended by itself
//   json     | 1 if it is JSON, with `keys` an object that has them
//   repeats  | the share of its runs of `words` words that were there before
//
// Its reward is the sum of weight × score over the rules, in the file's order, and then not below `least` and not above
// `most` of `clamp`.
//
// Holds:
//  - A file is checked whole, and its patterns are compiled; a rule that was read can be asked of any completion.
//  - Scores are a function of the completion alone, the same on every machine.
//  - A pattern that takes too long on a completion is an error with the rule's place, and ends within seconds; it is
//    never taken for "does not match".
//  - A row without the field that a rule needs is an error, too. lacks() tells before training which rows those are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/diagnostics.h"
#include "base/yaml.h"
#include "eval/pattern.h"
#include "reward/reward.h"

namespace orch::reward {

struct Contains {
  std::string text;  ///< not empty; in small letters if case is ignored
  bool ignore_case = false;
  bool lacks = false;  ///< the other way round
};

struct Matches {
  eval::CountedPattern pattern;
  bool whole = false;
};

/// What is taken from a text. A pattern gives its first group that holds something, or, without groups, all that it
/// matched; without blanks at its ends.
struct Take {
  enum class From { kAll, kLastNumber, kBoxed, kPattern } from = From::kAll;
  std::optional<eval::CountedPattern> pattern;  ///< of kPattern
  bool first = false;                           ///< of its matches, rather than the last
};

/// An answer that is not there, or is empty once compared, is never right.
struct Equals {
  Take answer;
  std::string field;  ///< a text, number, true or false, or a list of those, of which any will do
  Take right;         ///< what is taken from the field: all, or what a pattern finds
  enum class As { kText, kNumber, kMath } as = As::kText;
  bool ignore_case = false, ignore_whitespace = false, ignore_punctuation = false;  ///< of kText
  double tolerance = 0;  ///< of kNumber: a share of the right number
};

struct Length {
  bool in_characters = false;  ///< else in tokens
  std::int64_t least = 0;
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  std::int64_t slack = 0;
};

struct Ended {};

struct IsJson {
  std::vector<std::string> keys;
};

struct Repeats {
  int words = 3;
};

struct Rule {
  std::string name;  ///< of all rules' another; `rule_2` where the file gives none
  Place place;
  double weight = 0;
  std::variant<Contains, Matches, Equals, Length, Ended, IsJson, Repeats> what;
};

struct Rules {
  std::vector<Rule> rules;  ///< at least one
  double least = -kMostReward;
  double most = kMostReward;
};

std::optional<Rules> read_rules(const Yaml& root, const std::string& file, Diagnostics& diagnostics);
std::optional<Rules> load_rules(const std::filesystem::path& file, Diagnostics& diagnostics);

class RuleReward : public Reward {
 public:
  explicit RuleReward(Rules rules) : rules_(std::move(rules)) {}

  Result<std::vector<double>> of(std::span<const Completion> completions) override;

  /// Each rule's score, in their order, without weights: for those who want to see what is learnt.
  Result<std::vector<double>> scores(const Completion& completion) const;
  /// What a row lacks that the rules ask of it: `other` as in Completion.
  std::optional<Error> lacks(std::string_view other) const;

  const Rules& rules() const { return rules_; }

 private:
  Rules rules_;
};

}  // namespace orch::reward
