#include <algorithm>
#include <set>

#include "base/fields.h"
#include "base/template/code_points.h"
#include "base/text.h"
#include "eval/python_text.h"
#include "reward/rules.h"

namespace orch::reward {
namespace {

constexpr std::size_t kMostRules = 100;
constexpr std::size_t kMostKeys = 100;
constexpr int kMostWords = 20;
constexpr double kMostWeight = 1e6;  // a hundred rules of it stay below kMostReward
constexpr std::int64_t kMostLength = 1'000'000'000;

using Kind = decltype(Rule::what);

std::optional<eval::CountedPattern> read_pattern(Fields& fields, std::string_view key) {
  const auto text = fields.text(key);
  if (!text) return std::nullopt;
  auto pattern = eval::CountedPattern::compile(*text);
  if (pattern) return *std::move(pattern);
  fields.error(key, pattern.error().what);
  return std::nullopt;
}

std::optional<Kind> read_contains(Fields& fields, bool lacks) {
  Contains rule;
  rule.lacks = lacks;
  rule.ignore_case = fields.truth("ignore_case").value_or(false);
  fields.require("text");
  const auto text = fields.text("text");
  if (!text) return std::nullopt;
  if (text->empty()) fields.error("text", "'text' is empty, and stands in every completion");
  rule.text = rule.ignore_case ? tmpl::lower_text(*text) : *text;
  return rule;
}

std::optional<Kind> read_matches(Fields& fields) {
  fields.require("pattern");
  auto pattern = read_pattern(fields, "pattern");
  const bool whole = fields.truth("whole").value_or(false);
  if (!pattern) return std::nullopt;
  return Matches{*std::move(pattern), whole};
}

std::optional<Take> read_answer(Fields& fields) {
  using From = Take::From;
  Take take;
  if (const auto from = fields.choice<From>(
          "take", {{"all", From::kAll}, {"last_number", From::kLastNumber}, {"boxed", From::kBoxed}}))
    take.from = *from;
  take.pattern = read_pattern(fields, "pattern");
  take.first = fields.choice<bool>("which", {{"first", true}, {"last", false}}).value_or(false);
  if (fields.has("pattern")) {
    if (fields.has("take")) fields.error("take", "the answer is what 'pattern' finds or what 'take' names, not both");
    take.from = From::kPattern;
  } else if (fields.has("which")) {
    fields.error("which", "'which' says which match of 'pattern' counts, and there is none");
  }
  if (take.from == From::kPattern && !take.pattern) return std::nullopt;
  return take;
}

void read_comparison(Fields& fields, Equals& rule) {
  const bool is_numeric = fields.truth("numeric").value_or(false);
  const bool math = fields.truth("math").value_or(false);
  const bool of_number = rule.answer.from == Take::From::kLastNumber;
  const bool numeric = is_numeric || of_number;
  if (of_number && math) fields.error("math", "'take: last_number' takes numbers, which are compared as such");
  if (is_numeric && math) fields.error("math", "answers are compared by 'numeric' or by 'math', not both");
  if (numeric || math) rule.as = numeric ? Equals::As::kNumber : Equals::As::kMath;
  rule.ignore_case = fields.truth("ignore_case").value_or(false);
  rule.ignore_whitespace = fields.truth("ignore_whitespace").value_or(false);
  rule.ignore_punctuation = fields.truth("ignore_punctuation").value_or(false);
  rule.tolerance = fields.number("tolerance", 0, 1).value_or(0);
  for (const char* key : {"ignore_case", "ignore_whitespace", "ignore_punctuation"})
    if (fields.has(key) && rule.as != Equals::As::kText)
      fields.error(key, quote(key) + " is of answers that are compared as texts, and these are compared " +
                            (numeric ? "as numbers" : "by 'math'"));
  if (fields.has("tolerance") && !numeric)
    fields.error("tolerance", "'tolerance' is of numbers: it needs 'numeric: true'");
}

std::optional<Kind> read_equals(Fields& fields) {
  Equals rule;
  fields.require("field");
  rule.field = fields.text("field").value_or("");
  if (fields.has("field") && rule.field.empty()) fields.error("field", "'field' names no field");
  auto answer = read_answer(fields);
  if (answer) rule.answer = *std::move(answer);
  rule.right.pattern = read_pattern(fields, "field_pattern");
  if (fields.has("field_pattern")) rule.right.from = Take::From::kPattern;
  read_comparison(fields, rule);
  if (!answer || (fields.has("field_pattern") && !rule.right.pattern)) return std::nullopt;
  return rule;
}

std::optional<Kind> read_length(Fields& fields) {
  Length rule;
  rule.in_characters = fields.choice<bool>("unit", {{"tokens", false}, {"characters", true}}).value_or(false);
  const auto least = fields.whole("least", 0, kMostLength);
  const auto most = fields.whole("most", 0, kMostLength);
  rule.slack = fields.whole("slack", 0, kMostLength).value_or(0);
  if (!fields.has("least") && !fields.has("most") && fields.is_map())
    fields.error("kind", "a rule of 'kind: length' needs 'least', 'most' or both");
  if (least && most && *least > *most)
    fields.error("most", "'most' is " + std::to_string(*most) + ", less than 'least', " + std::to_string(*least));
  rule.least = least.value_or(rule.least);
  rule.most = most.value_or(rule.most);
  return rule;
}

std::optional<Kind> read_json(Fields& fields) {
  IsJson rule;
  rule.keys = fields.texts("keys").value_or(std::vector<std::string>{});
  if (rule.keys.size() > kMostKeys) fields.error("keys", "more than " + std::to_string(kMostKeys) + " keys");
  return rule;
}

std::optional<Kind> read_repeats(Fields& fields, double weight, Diagnostics& diagnostics) {
  Repeats rule;
  rule.words = static_cast<int>(fields.integer("words", 1, kMostWords).value_or(rule.words));
  if (weight > 0)
    diagnostics.warn(fields.place("weight"), "this rewards what repeats itself; a negative weight punishes it");
  return rule;
}

enum class Word { kContains, kLacks, kMatches, kEquals, kLength, kEnded, kJson, kRepeats };

std::optional<Rule> read_rule(const Yaml& node, const std::string& file, std::size_t number, Diagnostics& diagnostics) {
  Fields fields(node, file, "a rule", diagnostics);
  if (!fields.is_map()) return std::nullopt;
  Rule rule;
  rule.place = fields.place();
  rule.name = fields.name("name").value_or("rule_" + std::to_string(number));
  fields.require("weight");
  rule.weight = fields.number("weight", -kMostWeight, kMostWeight).value_or(0);
  fields.require("kind");
  const auto word = fields.choice<Word>("kind", {{"contains", Word::kContains},
                                                 {"lacks", Word::kLacks},
                                                 {"matches", Word::kMatches},
                                                 {"equals", Word::kEquals},
                                                 {"length", Word::kLength},
                                                 {"ended", Word::kEnded},
                                                 {"json", Word::kJson},
                                                 {"repeats", Word::kRepeats}});
  if (!word) return std::nullopt;  // which keys there may be is not known
  const auto what = [&]() -> std::optional<Kind> {
    switch (*word) {
      case Word::kContains:
      case Word::kLacks:
        return read_contains(fields, *word == Word::kLacks);
      case Word::kMatches:
        return read_matches(fields);
      case Word::kEquals:
        return read_equals(fields);
      case Word::kLength:
        return read_length(fields);
      case Word::kEnded:
        return Ended{};
      case Word::kJson:
        return read_json(fields);
      case Word::kRepeats:
        return read_repeats(fields, rule.weight, diagnostics);
    }
    return std::nullopt;
  }();
  fields.finish();
  if (!what) return std::nullopt;
  rule.what = *what;
  return rule;
}

void read_clamp(const Yaml& node, const std::string& file, Rules& rules, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'clamp' map", diagnostics);
  const auto least = fields.number("least", -kMostReward, kMostReward);
  const auto most = fields.number("most", -kMostReward, kMostReward);
  if (fields.is_map() && !fields.has("least") && !fields.has("most"))
    diagnostics.error(fields.place(), "'clamp' needs 'least', 'most' or both");
  if (least && most && *least >= *most) fields.error("most", "'most' must be more than 'least'");
  rules.least = least.value_or(rules.least);
  rules.most = most.value_or(rules.most);
  fields.finish();
}

}  // namespace

std::optional<Rules> read_rules(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  const std::size_t errors = diagnostics.error_count();
  Fields fields(root, file, "a reward file", diagnostics);
  Rules rules;
  const Yaml* const list = fields.require("rules");
  if (list && !list->is_list())
    fields.error("rules", "'rules' must be a list of rules, found " + describe(*list));
  else if (list && list->items.empty())
    fields.error("rules", "'rules' is an empty list");
  else if (list && list->items.size() > kMostRules)
    fields.error("rules", "more than " + std::to_string(kMostRules) + " rules");
  else if (list) {
    std::set<std::string> names;
    for (const Yaml& item : list->items) {
      auto rule = read_rule(item, file, rules.rules.size() + 1, diagnostics);
      if (rule && !names.insert(rule->name).second) {
        const Yaml* const name = item.find("name");
        diagnostics.error(place_of(name ? *name : item, file), "two rules are called " + quote(rule->name));
      }
      rules.rules.push_back(rule ? *std::move(rule) : Rule{});
    }
  }
  if (const Yaml* const clamp = fields.get("clamp")) read_clamp(*clamp, file, rules, diagnostics);
  fields.finish();
  if (diagnostics.error_count() != errors) return std::nullopt;
  return rules;
}

std::optional<Rules> load_rules(const std::filesystem::path& file, Diagnostics& diagnostics) {
  const auto root = load_yaml(file, diagnostics);
  if (!root) return std::nullopt;
  return read_rules(*root, file.string(), diagnostics);
}

}  // namespace orch::reward
