#include "eval/extract.h"

#include <algorithm>

#include "base/template/code_points.h"
#include "eval/math_answer.h"
#include "eval/python_text.h"

namespace orch::eval {
namespace {

std::string taken(const TakeMatch& step, const std::string& answer) {
  const std::vector<Pattern::Match> matches = step.pattern.find_all(answer);
  const auto count = static_cast<std::ptrdiff_t>(matches.size());
  const std::ptrdiff_t at = step.which < 0 ? count + step.which : step.which;
  if (at < 0 || at >= count) return step.otherwise;
  const Pattern::Match& match = matches[static_cast<std::size_t>(at)];
  if (match.groups.empty())
    return std::string(python_strip(std::string_view(answer).substr(match.begin, match.end - match.begin)));
  if (match.groups.size() == 1) return std::string(python_strip(match.groups[0]));
  const auto some = std::ranges::find_if(match.groups, [](const std::string& group) { return !group.empty(); });
  return some == match.groups.end() ? step.otherwise : std::string(python_strip(*some));
}

std::string changed(Change change, const std::string& answer) {
  switch (change) {
    case Change::kStrip:
      return std::string(python_strip(answer));
    case Change::kLower:
      return tmpl::lower_text(answer);
    case Change::kUpper:
      return tmpl::upper_text(answer);
    case Change::kMinervaAnswer:
      return minerva_normalized(minerva_answer(answer));
    case Change::kBetweenDollars:
      return between_dollars(answer);
  }
  return answer;
}

std::string majority(const std::vector<std::string>& answers) {
  const std::string* best = &answers.front();
  std::ptrdiff_t votes = 0;
  for (const std::string& answer : answers)
    if (const std::ptrdiff_t count = std::ranges::count(answers, answer); count > votes) {
      best = &answer;
      votes = count;
    }
  return *best;
}

}  // namespace

std::vector<std::string> extracted(const Extraction& extraction, std::vector<std::string> answers) {
  for (const ExtractStep& step : extraction.steps) {
    if (answers.empty()) break;
    if (const auto* first = std::get_if<TakeFirst>(&step)) {
      if (answers.size() > first->count) answers.resize(first->count);
    } else if (std::holds_alternative<TakeMajority>(step)) {
      answers = {majority(answers)};
    } else {
      for (std::string& answer : answers) {
        if (const auto* match = std::get_if<TakeMatch>(&step)) {
          answer = taken(*match, answer);
        } else if (const auto* change = std::get_if<Change>(&step)) {
          answer = changed(*change, answer);
        } else if (const auto* replace = std::get_if<Replace>(&step)) {
          const auto at = replace->by.find(answer);
          answer = at == replace->by.end() ? replace->otherwise : at->second;
        }
      }
    }
  }
  return answers;
}

}  // namespace orch::eval
