#include "reward/rules.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/template/code_points.h"
#include "base/text.h"
#include "eval/math_answer.h"
#include "eval/python_text.h"
#include "reward/texts.h"
#include "train/strict_json.h"

namespace orch::reward {
namespace {

using Json = nlohmann::ordered_json;

/// Longer answers are not compared as mathematics or numbers: no right one is, and normal forms take their time.
constexpr std::size_t kMostAnswer = 1000;  // bytes

Result<Json> row_of(std::string_view other) {
  if (other.empty()) return Json(Json::object());
  auto row = train::parse_strict(other, {});
  if (!row) return Error{"the row's fields are not JSON: " + row.error().what};
  if (!row->is_object()) return Error{"the row's fields are no JSON object"};
  return *std::move(row);
}

/// Nothing where there is no answer.
Result<std::optional<std::string>> taken(const Take& take, std::string_view text) {
  switch (take.from) {
    case Take::From::kAll:
      return std::optional<std::string>(eval::python_strip(text));
    case Take::From::kLastNumber: {
      const auto number = last_number(text);
      return number ? std::optional<std::string>(*number) : std::nullopt;
    }
    case Take::From::kBoxed: {
      const auto box = eval::last_boxed(text);
      const auto inside = box ? eval::unboxed(*box) : std::nullopt;
      return inside ? std::optional<std::string>(eval::python_strip(*inside)) : std::nullopt;
    }
    case Take::From::kPattern:
      break;
  }
  const auto match = take.first ? take.pattern->first(text) : take.pattern->last(text);
  if (!match) return match.error();
  if (!*match) return std::optional<std::string>();
  const eval::Pattern::Match& it = **match;
  if (it.groups.empty())
    return std::optional<std::string>(eval::python_strip(text.substr(it.begin, it.end - it.begin)));
  const auto some = std::ranges::find_if(it.groups, [](const std::string& group) { return !group.empty(); });
  if (some == it.groups.end()) return std::optional<std::string>();
  return std::optional<std::string>(eval::python_strip(*some));
}

bool is_punctuation(char c) {
  return std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").find(c) != std::string_view::npos;
}

/// What is left of a text that is compared as one.
std::string comparable(const Equals& rule, std::string text) {
  if (rule.ignore_case) text = tmpl::lower_text(text);
  if (rule.ignore_punctuation) std::erase_if(text, is_punctuation);
  if (!rule.ignore_whitespace) return std::string(eval::python_strip(text));
  std::string kept;
  for (const std::string_view point : tmpl::code_points(text))
    if (!tmpl::is_blank(point)) kept += point;
  return kept;
}

/// Whether an answer could ever be compared with this one.
std::optional<Error> unfit(const Equals& rule, const std::string& right) {
  const std::string which = quote(right) + " in the field " + quote(rule.field);
  if (rule.as == Equals::As::kNumber && !number_of(right)) return Error{which + " is no number"};
  if (rule.as == Equals::As::kMath && eval::python_strip(right).empty()) return Error{which + " is no answer"};
  if (rule.as == Equals::As::kText && comparable(rule, right).empty())
    return Error{"nothing is left to compare of " + which};
  return std::nullopt;
}

/// A field's value as texts; nothing where it is none.
std::optional<std::vector<std::string>> texts_of(const Json& value, bool in_list = false) {
  if (value.is_string()) return std::vector{value.get<std::string>()};
  if (value.is_number() || value.is_boolean()) return std::vector{value.dump()};
  if (!value.is_array() || value.empty() || in_list) return std::nullopt;
  std::vector<std::string> all;
  for (const Json& item : value) {
    auto texts = texts_of(item, true);
    if (!texts) return std::nullopt;
    all.push_back(std::move(texts->front()));
  }
  return all;
}

Result<std::vector<std::string>> right_answers(const Equals& rule, const Json& row) {
  const auto at = row.find(rule.field);
  if (at == row.end() || at->is_null()) {
    std::vector<std::string> names;
    for (const auto& [name, value] : row.items()) names.push_back(name);
    return Error{"the row has no field " + quote(rule.field) + hint(rule.field, names)};
  }
  auto texts = texts_of(*at);
  if (!texts)
    return Error{"the field " + quote(rule.field) +
                 " of the row is neither a text, a number, true or false, nor a list of those"};
  for (std::string& text : *texts) {
    auto answer = taken(rule.right, text);
    if (!answer) return Error{"in the field " + quote(rule.field) + ": " + answer.error().what};
    if (!*answer) return Error{"'field_pattern' finds nothing in the field " + quote(rule.field) + ", " + quote(text)};
    text = **std::move(answer);
    if (auto wrong = unfit(rule, text)) return *std::move(wrong);
  }
  return *std::move(texts);
}

bool is_right(const Equals& rule, const std::string& answer, const std::string& right) {
  switch (rule.as) {
    case Equals::As::kText: {
      const std::string mine = comparable(rule, answer);
      return !mine.empty() && mine == comparable(rule, right);
    }
    case Equals::As::kNumber: {
      const auto mine = answer.size() <= kMostAnswer ? number_of(answer) : std::nullopt;
      const auto wanted = number_of(right);
      return mine && wanted && std::abs(*mine - *wanted) <= rule.tolerance * std::abs(*wanted);
    }
    case Equals::As::kMath:
      return !answer.empty() && answer.size() <= kMostAnswer &&
             (eval::is_answer_of(eval::minerva_normalized(answer), right) || eval::is_answer_of(answer, right));
  }
  return false;
}

/// A completion as rules see it.
struct Seen {
  const Completion& completion;
  std::string text;  ///< UTF-8
  const Result<Json>& row;
};

double one_if(bool holds) { return holds ? 1 : 0; }

struct Score {
  const Seen& seen;

  Result<double> operator()(const Contains& rule) const {
    const bool stands = rule.ignore_case ? tmpl::lower_text(seen.text).find(rule.text) != std::string::npos
                                         : seen.text.find(rule.text) != std::string::npos;
    return one_if(stands != rule.lacks);
  }
  Result<double> operator()(const Matches& rule) const {
    const auto match = rule.whole ? rule.pattern.whole(seen.text) : rule.pattern.first(seen.text);
    if (!match) return match.error();
    return one_if(match->has_value());
  }
  Result<double> operator()(const Equals& rule) const {
    if (!seen.row) return seen.row.error();
    const auto right = right_answers(rule, *seen.row);
    if (!right) return right.error();
    const auto answer = taken(rule.answer, seen.text);
    if (!answer) return answer.error();
    return one_if(*answer &&
                  std::ranges::any_of(*right, [&](const std::string& one) { return is_right(rule, **answer, one); }));
  }
  Result<double> operator()(const Length& rule) const {
    const std::int64_t length =
        rule.in_characters ? static_cast<std::int64_t>(tmpl::count_code_points(seen.text)) : seen.completion.tokens;
    const std::int64_t beyond = length < rule.least ? rule.least - length : length > rule.most ? length - rule.most : 0;
    if (beyond == 0) return 1.0;
    return beyond < rule.slack ? 1 - static_cast<double>(beyond) / static_cast<double>(rule.slack) : 0.0;
  }
  Result<double> operator()(const Ended&) const { return one_if(seen.completion.is_ended); }
  Result<double> operator()(const IsJson& rule) const {
    const auto json = train::parse_strict(seen.text, {});
    if (!json) return 0.0;
    if (rule.keys.empty()) return 1.0;
    return one_if(json->is_object() &&
                  std::ranges::all_of(rule.keys, [&](const std::string& key) { return json->contains(key); }));
  }
  Result<double> operator()(const Repeats& rule) const { return repeated_share(seen.text, rule.words); }
};

Error of_rule(const Rule& rule, const std::string& what) {
  return Error{to_string(rule.place) + ": the rule " + quote(rule.name) + ": " + what};
}

bool asks_rows(const Rules& rules) {
  return std::ranges::any_of(rules.rules, [](const Rule& rule) { return std::holds_alternative<Equals>(rule.what); });
}

Result<std::vector<double>> scores_of(const Rules& rules, const Completion& completion, const Result<Json>& row) {
  const Seen seen{completion, as_utf8(completion.text), row};
  std::vector<double> scores;
  for (const Rule& rule : rules.rules) {
    const auto score = std::visit(Score{seen}, rule.what);
    if (!score) return of_rule(rule, score.error().what);
    scores.push_back(*score);
  }
  return scores;
}

}  // namespace

Result<std::vector<double>> RuleReward::scores(const Completion& completion) const {
  return scores_of(rules_, completion, asks_rows(rules_) ? row_of(completion.other) : Result<Json>(Json()));
}

Result<std::vector<double>> RuleReward::of(std::span<const Completion> completions) {
  const bool asks = asks_rows(rules_);
  std::vector<double> rewards;
  const std::string* of = nullptr;  // whose row was read last: the completions of a group stand together
  Result<Json> row = Json();
  for (const Completion& completion : completions) {
    if (asks && (!of || *of != completion.other)) row = row_of(completion.other);
    of = &completion.other;
    const auto scores = scores_of(rules_, completion, row);
    if (!scores)
      return Error{scores.error().what + " (completion " + std::to_string(rewards.size() + 1) + " of " +
                   std::to_string(completions.size()) + ", of group " + std::to_string(completion.group) + ")"};
    double sum = 0;
    for (std::size_t i = 0; i < scores->size(); ++i) sum += rules_.rules[i].weight * (*scores)[i];
    rewards.push_back(std::clamp(sum, rules_.least, rules_.most));
  }
  return rewards;
}

std::optional<Error> RuleReward::lacks(std::string_view other) const {
  if (!asks_rows(rules_)) return std::nullopt;
  const auto row = row_of(other);
  if (!row) return row.error();
  for (const Rule& rule : rules_.rules)
    if (const auto* equals = std::get_if<Equals>(&rule.what))
      if (const auto right = right_answers(*equals, *row); !right) return of_rule(rule, right.error().what);
  return std::nullopt;
}

}  // namespace orch::reward
