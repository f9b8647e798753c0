// What is taken from a model's words before they are compared: steps over the answers to one prompt.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "eval/pattern.h"

namespace orch::eval {

/// Of all matches the one at `which` (from the end if it is negative), of its groups the first that holds something;
/// where the pattern has no groups, all that matched. Without blanks at its ends.
struct TakeMatch {
  Pattern pattern;
  int which = 0;
  std::string otherwise = "[invalid]";
};
struct TakeFirst {
  std::size_t count = 1;
};
/// The answer that was given most often, of several the one that came first.
struct TakeMajority {};
/// Puts one text in another's place.
struct Replace {
  std::map<std::string, std::string> by;
  std::string otherwise;
};
enum class Change { kStrip, kLower, kUpper, kMinervaAnswer, kBetweenDollars };

using ExtractStep = std::variant<TakeMatch, TakeFirst, TakeMajority, Replace, Change>;

/// A way to read the answers; a task may score several.
struct Extraction {
  std::string name;
  std::vector<ExtractStep> steps;
};

std::vector<std::string> extracted(const Extraction& extraction, std::vector<std::string> answers);

}  // namespace orch::eval
