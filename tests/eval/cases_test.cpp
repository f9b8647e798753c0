// What lm-evaluation-harness, MATH's authors and Python make of small things, recorded by scripts/record-eval-prompts.
#include <gmock/gmock.h>

#include "eval/extract.h"
#include "eval/math_answer.h"
#include "eval/python_literal.h"
#include "eval/python_random.h"
#include "import.h"

namespace orch::eval {
namespace {

const Json& cases() {
  static const Json kCases = test::recorded("cases.json");
  return kCases;
}

TEST(MathAnswers, HaveTheNormalFormOfTheirAuthorsAndThatOfMinerva) {
  ASSERT_GE(cases()["normal"].size(), 500u);
  for (const Json& item : cases()["normal"]) {
    const std::string text = item[0];
    const auto normal = hendrycks_normalized(text);
    EXPECT_EQ(normal ? Json(*normal) : Json(), item[1]) << text;
    EXPECT_EQ(minerva_normalized(text), item[2]) << text;
  }
}

TEST(MathAnswers, AreEqualWhereTheAuthorsSaySo) {
  for (const Json& item : cases()["equal"])
    EXPECT_EQ(hendrycks_equal(item[0].get<std::string>(), item[1].get<std::string>()), item[2]) << item;
}

TEST(MathAnswers, AreTakenFromTheLastBox) {
  for (const Json& item : cases()["boxed"]) {
    const auto last = last_boxed(item[0].get<std::string>());
    EXPECT_EQ(last ? Json(*last) : Json(), item[1]) << item;
    const auto inside = last ? unboxed(*last) : std::nullopt;
    EXPECT_EQ(inside ? Json(*inside) : Json(), item[2]) << item;
  }
}

TEST(MathAnswers, AreTakenFromWhereAModelSaysThatItIsSure) {
  for (const Json& item : cases()["said"]) EXPECT_EQ(minerva_answer(item[0].get<std::string>()), item[1]) << item;
}

TEST(MathAnswers, StandBetweenTheFirstDollarAndTheLast) {
  EXPECT_EQ(between_dollars("so $x$ or $y$."), "x$ or $y");
  EXPECT_EQ(between_dollars("a $ alone"), "a $ alone");
}

TEST(Patterns, FindAndTakeOutWhatPythonDoes) {
  ASSERT_GE(cases()["found"].size(), 500u);
  for (const Json& item : cases()["found"]) {
    auto pattern = Pattern::compile(item[0].get<std::string>());
    ASSERT_TRUE(pattern) << pattern.error().what;
    const Extraction extraction{"t", {TakeMatch{*pattern, item[2].get<int>(), "[invalid]"}, TakeFirst{}}};
    EXPECT_EQ(extracted(extraction, {item[1].get<std::string>()})[0], item[3]) << item;
    EXPECT_EQ(pattern->replaced(item[1].get<std::string>()), item[4]) << item;
  }
}

TEST(Patterns, ThatWouldTakeForeverFindNothing) {
  const auto pattern = Pattern::compile("(a+)+$");
  EXPECT_FALSE(pattern->find(std::string(5000, 'a') + "b"));
}

TEST(Patterns, ThatCannotBeReadSayWhere) {
  const auto pattern = Pattern::compile("ab(c");
  ASSERT_FALSE(pattern);
  EXPECT_THAT(pattern.error().what, testing::HasSubstr("the pattern 'ab(c' cannot be read, at byte 5: "));
}

TEST(Literals, AreReadAsPythonReadsThem) {
  for (const Json& item : cases()["literals"]) {
    const auto value = python_literal(item[0].get<std::string>());
    EXPECT_EQ(value.has_value(), item[1].get<bool>()) << item;
    if (value && item[1].get<bool>()) EXPECT_EQ(*value, item[2]) << item;
  }
}

TEST(RandomNumbers, DrawWhatPythonDraws) {
  for (const Json& item : cases()["drawn"]) {
    PythonRandom random(item[0].get<std::uint32_t>());
    EXPECT_EQ(Json(random.sample(item[1].get<std::size_t>(), item[2].get<std::size_t>())), item[3]) << item;
  }
}

TEST(Extractions, TakeTheAnswerThatWasGivenMostOften) {
  EXPECT_THAT(extracted({"v", {TakeMajority{}}}, {"b", "a", "a", "b", "c"}), testing::ElementsAre("b"));
}

TEST(Extractions, GoThroughTheirStepsInOrder) {
  const Extraction extraction{"x", {Change::kStrip, Change::kUpper, Replace{{{"YES", "1"}}, "0"}, TakeFirst{2}}};
  EXPECT_THAT(extracted(extraction, {" yes\u00a0", "no", "yes"}), testing::ElementsAre("1", "0"));
}

}  // namespace
}  // namespace orch::eval
