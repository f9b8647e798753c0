#include "reward/rules.h"

#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <fstream>

#include "base/reading.h"
#include "support/temporary.h"

namespace orch::reward {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::optional<RuleReward> reward(const std::string& text) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "f.yaml", diagnostics);
  auto rules = root ? read_rules(*root, "f.yaml", diagnostics) : std::nullopt;
  EXPECT_THAT(test::lines(diagnostics), IsEmpty()) << text;
  if (!rules) return std::nullopt;
  return RuleReward(*std::move(rules));
}

/// One rule, in braces, of weight 1.
std::optional<RuleReward> one_rule(const std::string& rule) { return reward("rules: [{weight: 1, " + rule + "}]"); }

Completion said(const std::string& text, const std::string& other = {}) {
  Completion completion;
  completion.text = text;
  completion.other = other;
  return completion;
}

/// The score of one rule; NaN where there is an error.
double score(const std::string& rule, const Completion& completion) {
  const auto it = one_rule(rule);
  const auto scores = it ? it->scores(completion) : Result<std::vector<double>>(Error{"the file is bad"});
  if (scores) return scores->at(0);
  ADD_FAILURE() << scores.error().what;
  return std::nan("");
}
double score(const std::string& rule, const std::string& text) { return score(rule, said(text)); }

std::string error(const std::string& rule, const Completion& completion) {
  auto it = one_rule(rule);
  if (!it) return "the file is bad";
  const auto rewards = it->of(std::vector{completion});
  return rewards ? "no error" : rewards.error().what;
}

std::vector<std::string> problems(const std::string& text) {
  return test::problems(text, [](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    const bool is_read = read_rules(root, file, diagnostics).has_value();
    EXPECT_EQ(is_read, diagnostics.ok());
  });
}

TEST(Rules, LookForTextsWithOrWithoutCase) {
  EXPECT_EQ(score("kind: contains, text: Ab", "xxAbxx"), 1);
  EXPECT_EQ(score("kind: contains, text: Ab", "xxabxx"), 0);
  EXPECT_EQ(score("kind: contains, text: ÄB, ignore_case: true", "xxäbxx"), 1);
  EXPECT_EQ(score("kind: lacks, text: Ab", "xxAbxx"), 0);
  EXPECT_EQ(score("kind: lacks, text: Ab", "xxabxx"), 1);
  EXPECT_EQ(score("kind: lacks, text: Ab, ignore_case: true", "xxabxx"), 0);
  EXPECT_EQ(score("kind: contains, text: a", ""), 0);
}

TEST(Rules, MatchPatternsSomewhereOrOverAll) {
  EXPECT_EQ(score(R"(kind: matches, pattern: 'b+')", "abbc"), 1);
  EXPECT_EQ(score(R"(kind: matches, pattern: 'b+')", "ac"), 0);
  EXPECT_EQ(score(R"(kind: matches, pattern: 'b+', whole: true)", "abbc"), 0);
  EXPECT_EQ(score(R"(kind: matches, pattern: 'b+', whole: true)", "bb"), 1);
  // As re.fullmatch(): the shorter branch comes first and does not fill the text, so the longer one is tried.
  EXPECT_EQ(score(R"(kind: matches, pattern: 'a|ab', whole: true)", "ab"), 1);
  EXPECT_EQ(score(R"(kind: matches, pattern: 'a.*b', whole: true)", "a\nb"), 0);
  EXPECT_EQ(score(R"(kind: matches, pattern: '(?s)a.*b', whole: true)", "a\nb"), 1);
  EXPECT_EQ(score(R"(kind: matches, pattern: '(?x)a # b', whole: true)", "a"), 1);
  EXPECT_EQ(score(R"(kind: matches, pattern: '^.$')", "\xff"), 1) << "a byte that is not UTF-8 is one character";
  EXPECT_EQ(score(R"(kind: matches, pattern: '')", ""), 1);
}

TEST(Rules, CompareAnswersAsTexts) {
  const std::string rule = "kind: equals, field: answer";
  EXPECT_EQ(score(rule, said(" Paris\n", R"({"answer": "Paris"})")), 1);
  EXPECT_EQ(score(rule, said("paris", R"({"answer": "Paris"})")), 0);
  EXPECT_EQ(score(rule + ", ignore_case: true", said("paris", R"({"answer": "Paris"})")), 1);
  EXPECT_EQ(score(rule, said("New  York", R"({"answer": "NewYork"})")), 0);
  EXPECT_EQ(score(rule + ", ignore_whitespace: true", said("New\u00a0 York", R"({"answer": "NewYork"})")), 1);
  EXPECT_EQ(score(rule + ", ignore_punctuation: true", said("'Paris'.", R"({"answer": "Paris"})")), 1);
  EXPECT_EQ(score(rule + ", ignore_punctuation: true", said("...", R"({"answer": "Paris"})")), 0);
  EXPECT_EQ(score(rule, said("42", R"({"answer": 42})")), 1);
  EXPECT_EQ(score(rule, said("true", R"({"answer": true})")), 1);
  EXPECT_EQ(score(rule, said("b", R"({"answer": ["a", "b"]})")), 1);
  EXPECT_EQ(score(rule, said("c", R"({"answer": ["a", "b"]})")), 0);
}

TEST(Rules, TakeAnswersByPatterns) {
  const std::string row = R"({"answer": "B"})";
  EXPECT_EQ(score("kind: equals, field: answer, pattern: '[A-D]'", said("A or B", row)), 1) << "the last match counts";
  EXPECT_EQ(score("kind: equals, field: answer, pattern: '[A-D]', which: last", said("A or B", row)), 1);
  EXPECT_EQ(score("kind: equals, field: answer, pattern: '[A-D]', which: first", said("A or B", row)), 0);
  EXPECT_EQ(score("kind: equals, field: answer, pattern: '<(.*?)>'", said("<A> < B >", row)), 1);
  EXPECT_EQ(score("kind: equals, field: answer, pattern: 'x(.)|y(.)'", said("yB", row)), 1)
      << "of groups the first that holds something";
  EXPECT_EQ(score("kind: equals, field: answer, pattern: 'x(.)'", said("B", row)), 0) << "no match is no answer";
  EXPECT_EQ(score("kind: equals, field: answer, pattern: '<(.*)>', field_pattern: '#### (.)'",
                  said("<7>", R"({"answer": "3 + 4\n#### 7"})")),
            1);
  // An empty match behind each character; the last is at the end.
  EXPECT_EQ(score("kind: equals, field: answer, pattern: 'B?$'", said("AB", row)), 0);
  EXPECT_EQ(score("kind: equals, field: answer, pattern: 'B?$', which: first", said("AB", row)), 1);
}

TEST(Rules, CompareAnswersAsNumbers) {
  const std::string rule = "kind: equals, field: n, numeric: true";
  const std::string row = R"({"n": "1,200"})";
  for (const char* same : {"1200", "1,200", " 1200.0 ", "1.2e3", "$1,200", "+1200.", "€1200", "1200E0"})
    EXPECT_EQ(score(rule, said(same, row)), 1) << same;
  for (const char* other : {"1201", "-1200", "12,00", "1200 apples", "", "nan", "inf", "1e999", "0x4b0"})
    EXPECT_EQ(score(rule, said(other, row)), 0) << other;
  EXPECT_EQ(score(rule, said("\u22125", R"({"n": -5})")), 1);
  // A fiftieth of 50 is 1.
  EXPECT_EQ(score(rule + ", tolerance: 0.02", said("51", R"({"n": 50})")), 1);
  EXPECT_EQ(score(rule + ", tolerance: 0.02", said("51.1", R"({"n": 50})")), 0);
  EXPECT_EQ(score(rule, said(std::string(100'000, '1'), row)), 0);
}

TEST(Rules, TakeTheLastNumber) {
  const std::string rule = "kind: equals, field: n, take: last_number";
  const auto takes = [&](const std::string& text, const std::string& number) {
    return score(rule, said(text, R"({"n": )" + number + "}"));
  };
  EXPECT_EQ(takes("1 and 2 and 3.", "3"), 1);
  EXPECT_EQ(takes("3-5", "5"), 1);
  EXPECT_EQ(takes("(3)-5", "5"), 1);
  EXPECT_EQ(takes("x = -5", "-5"), 1);
  EXPECT_EQ(takes("costs $1,234,567.50!", "1234567.5"), 1);
  EXPECT_EQ(takes("1,2,3", "3"), 1);
  EXPECT_EQ(takes("1,2345", "2345"), 1) << "four digits are no group";
  EXPECT_EQ(takes("version 1.2.3", "3"), 1);
  EXPECT_EQ(takes("about .5", "0.5"), 1);
  EXPECT_EQ(takes("6e-3 m", "0.006"), 1);
  EXPECT_EQ(takes("2e apples", "2"), 1);
  EXPECT_EQ(takes("7 and 1e999", "7"), 1) << "what no double holds is no number";
  EXPECT_EQ(takes("none", "7"), 0);
}

TEST(Rules, CompareAnswersAsMathematics) {
  const std::string rule = "kind: equals, field: s, take: boxed, math: true";
  const std::string row = R"({"s": "So it is $\\boxed{\\frac{1}{2}}$."})";
  for (const char* same :
       {R"(\boxed{\frac12})", R"(\boxed{1/2})", R"(\boxed{0.5})", R"(\boxed{3} no \boxed{\dfrac{1}{2}})"})
    EXPECT_EQ(score(rule, said(same, row)), 1) << same;
  for (const char* other : {R"(\boxed{2})", "1/2", "", R"(\boxed{)", R"(\boxed{})", R"(\boxed{\frac})"})
    EXPECT_EQ(score(rule, said(other, row)), 0) << other;
  EXPECT_EQ(score("kind: equals, field: s, math: true", said("1/2", R"({"s": "\\frac{1}{2}"})")), 1);
}

TEST(Rules, GiveLessTheFurtherALengthIsOff) {
  const auto at = [](std::int64_t tokens) {
    Completion completion;
    completion.tokens = tokens;
    return score("kind: length, least: 10, most: 20, slack: 8", completion);
  };
  EXPECT_EQ(at(10), 1);
  EXPECT_EQ(at(20), 1);
  EXPECT_EQ(at(22), 0.75);
  EXPECT_EQ(at(6), 0.5);
  EXPECT_EQ(at(28), 0);
  EXPECT_EQ(at(0), 0);
  EXPECT_EQ(at(1'000'000'000'000), 0);
  EXPECT_EQ(score("kind: length, most: 3, unit: characters", "äöü"), 1);
  EXPECT_EQ(score("kind: length, most: 3, unit: characters", "äöüß"), 0) << "without slack";
  EXPECT_EQ(score("kind: length, least: 1", ""), 0);
}

TEST(Rules, SeeWhetherACompletionEndedByItself) {
  Completion completion;
  EXPECT_EQ(score("kind: ended", completion), 0);
  completion.is_ended = true;
  EXPECT_EQ(score("kind: ended", completion), 1);
}

TEST(Rules, SeeJsonAndItsKeys) {
  EXPECT_EQ(score("kind: json", " {\"a\": 1}\n"), 1);
  EXPECT_EQ(score("kind: json", "[1, 2]"), 1);
  EXPECT_EQ(score("kind: json", "7"), 1);
  EXPECT_EQ(score("kind: json", "{\"a\": 1} so"), 0);
  EXPECT_EQ(score("kind: json", "{\"a\": 1, \"a\": 2}"), 0);
  EXPECT_EQ(score("kind: json", ""), 0);
  EXPECT_EQ(score("kind: json", std::string(1'000'000, '[')), 0);
  EXPECT_EQ(score("kind: json, keys: [a, b]", R"({"b": null, "a": 1, "c": 2})"), 1);
  EXPECT_EQ(score("kind: json, keys: [a, b]", R"({"a": 1})"), 0);
  EXPECT_EQ(score("kind: json, keys: a", R"(["a"])"), 0);
}

TEST(Rules, CountWhatRepeatsItself) {
  // 5 words, 4 pairs: ab, ba, ab, ba; 2 of 4 were there before.
  EXPECT_EQ(score("kind: repeats, words: 2", "a b\ta  b a"), 0.5);
  // 3 triples: aba, bab, aba.
  EXPECT_THAT(score("kind: repeats", "a b a b a"), DoubleEq(1 - 2.0 / 3));
  EXPECT_EQ(score("kind: repeats, words: 1", "x x x x"), 0.75);
  EXPECT_EQ(score("kind: repeats", "a b"), 0) << "no run of three";
  EXPECT_EQ(score("kind: repeats", ""), 0);
  EXPECT_EQ(score("kind: repeats", "a b c d e"), 0);
}

TEST(Rules, AreAddedUpByWeightAndClamped) {
  auto it = reward(R"(rules:
  - {kind: contains, weight: 0.5, text: a}
  - {kind: contains, weight: -2, text: b, name: no_b}
  - {kind: ended, weight: 4}
clamp: {least: -1, most: 3}
)");
  ASSERT_TRUE(it);
  EXPECT_EQ(it->rules().rules[0].name, "rule_1");
  EXPECT_EQ(it->rules().rules[1].name, "no_b");
  Completion ended = said("a");
  ended.is_ended = true;
  const auto rewards = it->of(std::vector{said("a"), said("ab"), said("b"), said(""), ended});
  ASSERT_TRUE(rewards) << rewards.error().what;
  EXPECT_THAT(*rewards, ElementsAre(0.5, -1, -1, 0, 3));  // 0.5 − 2 and −2 are below −1, 4.5 is above 3
  EXPECT_THAT(*it->scores(said("ab")), ElementsAre(1, 1, 0));
  EXPECT_THAT(*it->of({}), IsEmpty());
}

TEST(Rules, ReadEachRowOfItsOwn) {
  auto it = one_rule("kind: equals, field: a");
  ASSERT_TRUE(it);
  const std::string x = R"({"a": "x"})", y = R"({"a": "y"})";
  const auto rewards = it->of(std::vector{said("x", x), said("y", x), said("x", y), said("y", y), said("x", x)});
  ASSERT_TRUE(rewards) << rewards.error().what;
  EXPECT_THAT(*rewards, ElementsAre(1, 0, 0, 1, 1));
}

TEST(Rules, TakeNoRowThatCannotBeComparedWith) {
  const auto lacks = [](const std::string& rule, const std::string& other) {
    const auto it = one_rule(rule);
    if (!it) return std::string("the file is bad");
    const auto lack = it->lacks(other);
    return lack ? lack->what : "nothing";
  };
  const std::string rule = "kind: equals, field: answer, name: right";
  EXPECT_EQ(lacks(rule, R"({"answer": "x"})"), "nothing");
  EXPECT_EQ(lacks(rule, R"({"anwser": "x"})"),
            "f.yaml:1:9: the rule 'right': the row has no field 'answer'; did you mean 'anwser'?");
  EXPECT_EQ(lacks(rule, ""), "f.yaml:1:9: the rule 'right': the row has no field 'answer'");
  EXPECT_EQ(lacks(rule, R"({"answer": null})"),
            "f.yaml:1:9: the rule 'right': the row has no field 'answer'; did you mean 'answer'?");
  EXPECT_THAT(lacks(rule, R"({"answer": {}})"), HasSubstr("is neither a text, a number"));
  EXPECT_THAT(lacks(rule, R"({"answer": []})"), HasSubstr("is neither a text, a number"));
  EXPECT_THAT(lacks(rule, R"({"answer": [["x"]]})"), HasSubstr("is neither a text, a number"));
  EXPECT_THAT(lacks(rule, R"({"answer": " "})"), HasSubstr("nothing is left to compare of '' in the field 'answer'"));
  EXPECT_THAT(lacks(rule + ", numeric: true", R"({"answer": "x"})"),
              HasSubstr("'x' in the field 'answer' is no number"));
  EXPECT_THAT(lacks(rule + ", field_pattern: '#(.)'", R"({"answer": "x"})"),
              HasSubstr("'field_pattern' finds nothing in the field 'answer', 'x'"));
  EXPECT_THAT(lacks(rule, "[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(lacks(rule, "{"), HasSubstr("not JSON"));
  EXPECT_EQ(lacks("kind: ended", "{"), "nothing") << "no rule asks for the row";
  EXPECT_EQ(error(rule, said("x", R"({"b": 1})")),
            "f.yaml:1:9: the rule 'right': the row has no field 'answer' (completion 1 of 1, of group 0)");
}

TEST(Rules, StopPatternsThatTakeTooLongAndSayWhich) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string text = std::string(20'000, 'a');
  // Exponential; cubic; long looks ahead at each place; back references; repeats that fail late; many groups.
  for (const char* pattern :
       {"(a+)+[bc]", "(?:a|aa)+[bc]", "a*a*a*[bc]", "(?:(?=a++)a)*[bc]", R"((a+)\\1[bc])", "(?:a|aa)*a{19000}[bc]",
        "(?:(a)|(aa)|(aaa))*[bc]", "(?P<x>a+)(?P=x)[bc]", "(a|(?R)a)+[bc]"}) {
    const std::string said_of =
        error(std::string("kind: matches, name: slow, pattern: \"") + pattern + "\"", said(text));
    EXPECT_THAT(said_of, StartsWith("f.yaml:1:9: the rule 'slow': the pattern takes more than ")) << pattern;
    EXPECT_THAT(said_of, HasSubstr(" on a text of 20,000 bytes (completion 1 of 1, of group 0)")) << pattern;
  }
  EXPECT_THAT(error("kind: equals, field: a, pattern: '(a+)+[bc]'", said(text, R"({"a": "x"})")),
              HasSubstr("takes more than 20,000,000 steps"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(120));
}

TEST(Rules, TakeLongCompletionsInTheirStride) {
  const std::string row = R"({"a": "7"})";
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "word" + std::to_string(i) + " \xff\n";
  text += "<think></think><answer>7</answer>";
  EXPECT_EQ(score("kind: equals, field: a, pattern: '<answer>(.*?)</answer>'", said(text, row)), 1);
  EXPECT_EQ(score(R"(kind: equals, field: a, pattern: '\d')", said(text, row)), 1);
  EXPECT_EQ(score("kind: equals, field: a, pattern: ''", said(text, row)), 0) << "as many matches as characters";
  EXPECT_EQ(score(R"(kind: matches, pattern: '(?s).*<think>.*</think>\s*<answer>.*</answer>', whole: true)", text), 1);
  EXPECT_EQ(score("kind: equals, field: a, take: last_number", said(text, row)), 1);
  EXPECT_EQ(score("kind: repeats, words: 20", text), 0);
}

TEST(RuleFiles, AreReadFromADisk) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "r.yaml") << "rules: [{kind: ended, weight: 2}]\n";
  Diagnostics diagnostics;
  const auto rules = load_rules(folder / "r.yaml", diagnostics);
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->rules.at(0).weight, 2);
  EXPECT_FALSE(load_rules(folder / "none.yaml", diagnostics));
}

TEST(RuleFiles, SayWhatIsWrongAndWhere) {
  const auto of_rule = [](const std::string& rest) { return problems("rules:\n  - {weight: 1, " + rest + "}\n"); };
  EXPECT_THAT(problems("[]"), ElementsAre("f.yaml:1:1: a reward file must be a map of keys, found a list"));
  EXPECT_THAT(problems("{}"), ElementsAre("f.yaml:1:1: a reward file needs the key 'rules'"));
  EXPECT_THAT(problems("rules: []"), ElementsAre("f.yaml:1:8: 'rules' is an empty list"));
  EXPECT_THAT(problems("rules: {}"), ElementsAre("f.yaml:1:8: 'rules' must be a list of rules, found a map"));
  EXPECT_THAT(problems("rules: [7]"), ElementsAre("f.yaml:1:9: a rule must be a map of keys, found the number 7"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1}]\nclmap: {}"),
              ElementsAre("f.yaml:2:1: a reward file has no key 'clmap'; did you mean 'clamp'?"));
  EXPECT_THAT(problems("rules: [{kind: ended}]"), ElementsAre("f.yaml:1:9: a rule needs the key 'weight'"));
  EXPECT_THAT(problems("rules: [{weight: 1}]"), ElementsAre("f.yaml:1:9: a rule needs the key 'kind'"));
  EXPECT_THAT(of_rule("kind: contain"),
              ElementsAre("f.yaml:2:23: 'kind' must be one of contains, lacks, matches, equals, length, ended, json, "
                          "repeats; found the text 'contain'; did you mean 'contains'?"));
  EXPECT_THAT(of_rule("kind: ended, wieght: 2"),
              ElementsAre("f.yaml:2:30: a rule has no key 'wieght'; did you mean 'weight'?"));
  EXPECT_THAT(of_rule("kind: ended, text: x"),
              ElementsAre("f.yaml:2:30: a rule has no key 'text'; it takes kind, name, weight"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: heavy}]"),
              ElementsAre("f.yaml:1:31: 'weight' must be a number from -1000000 to 1000000, found the text 'heavy'"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1e7}]"), ElementsAre(HasSubstr("f.yaml:1:31: 'weight' must be")));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: .nan}]"), ElementsAre(HasSubstr("'weight' must be a number")));
  EXPECT_THAT(of_rule("kind: ended, name: a b"), ElementsAre(HasSubstr("f.yaml:2:36: 'name' must be a name")));
  EXPECT_THAT(problems("rules:\n- {kind: ended, weight: 1, name: x}\n- {kind: json, weight: 1, name: x}\n"),
              ElementsAre("f.yaml:3:33: two rules are called 'x'"));
  EXPECT_THAT(of_rule("kind: contains"), ElementsAre("f.yaml:2:5: a rule needs the key 'text'"));
  EXPECT_THAT(of_rule("kind: lacks, text: ''"),
              ElementsAre("f.yaml:2:36: 'text' is empty, and stands in every completion"));
  EXPECT_THAT(of_rule("kind: lacks, text: [a]"), ElementsAre("f.yaml:2:36: 'text' must be a text, found a list"));
  EXPECT_THAT(of_rule("kind: lacks, text: a, ignore_case: 1"),
              ElementsAre("f.yaml:2:52: 'ignore_case' must be true or false, found the number 1"));
  EXPECT_THAT(of_rule("kind: matches"), ElementsAre("f.yaml:2:5: a rule needs the key 'pattern'"));
  EXPECT_THAT(of_rule("kind: matches, pattern: '(a'"),
              ElementsAre("f.yaml:2:41: the pattern '(a' cannot be read, at byte 3: missing closing parenthesis"));
  EXPECT_THAT(of_rule("kind: matches, pattern: '" + std::string(10'001, 'a') + "'"),
              ElementsAre("f.yaml:2:41: a pattern of more than 10,000 bytes"));
  EXPECT_THAT(of_rule("kind: equals"), ElementsAre("f.yaml:2:5: a rule needs the key 'field'"));
  EXPECT_THAT(of_rule("kind: equals, field: ''"), ElementsAre("f.yaml:2:38: 'field' names no field"));
  EXPECT_THAT(of_rule("kind: equals, field: a, take: last_nubmer"),
              ElementsAre("f.yaml:2:47: 'take' must be one of all, last_number, boxed; found the text 'last_nubmer'; "
                          "did you mean 'last_number'?"));
  EXPECT_THAT(of_rule("kind: equals, field: a, take: all, pattern: b"),
              ElementsAre("f.yaml:2:47: the answer is what 'pattern' finds or what 'take' names, not both"));
  EXPECT_THAT(of_rule("kind: equals, field: a, which: first"),
              ElementsAre("f.yaml:2:48: 'which' says which match of 'pattern' counts, and there is none"));
  EXPECT_THAT(of_rule("kind: equals, field: a, field_pattern: '['"), ElementsAre(HasSubstr("cannot be read")));
  EXPECT_THAT(of_rule("kind: equals, field: a, numeric: true, math: true"),
              ElementsAre("f.yaml:2:62: answers are compared by 'numeric' or by 'math', not both"));
  EXPECT_THAT(of_rule("kind: equals, field: a, take: last_number, math: true"),
              ElementsAre("f.yaml:2:66: 'take: last_number' takes numbers, which are compared as such"));
  EXPECT_THAT(of_rule("kind: equals, field: a, math: true, ignore_case: true"),
              ElementsAre("f.yaml:2:66: 'ignore_case' is of answers that are compared as texts, and these are "
                          "compared by 'math'"));
  EXPECT_THAT(of_rule("kind: equals, field: a, take: last_number, ignore_whitespace: true"),
              ElementsAre(HasSubstr("these are compared as numbers")));
  EXPECT_THAT(of_rule("kind: equals, field: a, tolerance: 0.1"),
              ElementsAre("f.yaml:2:52: 'tolerance' is of numbers: it needs 'numeric: true'"));
  EXPECT_THAT(of_rule("kind: equals, field: a, numeric: true, tolerance: 2"),
              ElementsAre("f.yaml:2:67: 'tolerance' must be a number from 0 to 1, found the number 2"));
  EXPECT_THAT(of_rule("kind: length"),
              ElementsAre("f.yaml:2:23: a rule of 'kind: length' needs 'least', 'most' or both"));
  EXPECT_THAT(of_rule("kind: length, least: 5, most: 4"),
              ElementsAre("f.yaml:2:47: 'most' is 4, less than 'least', 5"));
  EXPECT_THAT(of_rule("kind: length, least: -1"),
              ElementsAre("f.yaml:2:38: 'least' must be a whole number from 0 to 1000000000, found the number -1"));
  EXPECT_THAT(of_rule("kind: length, most: 4, unit: words"),
              ElementsAre("f.yaml:2:46: 'unit' must be one of tokens, characters; found the text 'words'"));
  EXPECT_THAT(of_rule("kind: json, keys: {a: b}"),
              ElementsAre("f.yaml:2:35: 'keys' must be a list of texts, found a map"));
  EXPECT_THAT(of_rule("kind: repeats, words: 21"),
              ElementsAre("f.yaml:2:39: 'words' must be a whole number from 1 to 20, found the number 21"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1}]\nclamp: {}"),
              ElementsAre("f.yaml:2:8: 'clamp' needs 'least', 'most' or both"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1}]\nclamp: {least: 1, most: 1}"),
              ElementsAre("f.yaml:2:25: 'most' must be more than 'least'"));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1}]\nclamp: {max: 1}"),
              ElementsAre(HasSubstr("needs 'least'"), HasSubstr("a 'clamp' map has no key 'max'")));
  std::string many = "rules:\n";
  for (int i = 0; i < 101; ++i) many += "- {kind: ended, weight: 1}\n";
  EXPECT_THAT(problems(many), ElementsAre("f.yaml:2:1: more than 100 rules"));
}

TEST(RuleFiles, ShowAllThatIsWrongAtOnce) {
  EXPECT_THAT(
      problems("rules:\n- {kind: ended, weight: x}\n- {kind: matches, weight: 1, pattern: '('}\n- {}\n"),
      ElementsAre(StartsWith("f.yaml:2:"), StartsWith("f.yaml:3:"), StartsWith("f.yaml:4:"), StartsWith("f.yaml:4:")));
}

TEST(RuleFiles, AreWarnedAgainstThatRewardRepetition) {
  Diagnostics diagnostics;
  const auto root = parse_yaml("rules: [{kind: repeats, weight: 1}]", "f.yaml", diagnostics);
  ASSERT_TRUE(root);
  EXPECT_TRUE(read_rules(*root, "f.yaml", diagnostics));
  ASSERT_EQ(diagnostics.warnings().size(), 1u);
  EXPECT_EQ(to_string(diagnostics.warnings()[0].place), "f.yaml:1:33");
}

}  // namespace
}  // namespace orch::reward
