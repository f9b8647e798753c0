#include "eval/score/answers.h"

#include <gmock/gmock.h>

#include <vector>

#include "eval/score/text.h"

namespace orch::eval {
namespace {

using testing::Eq;
using testing::Optional;

using Texts = std::vector<std::string>;

TEST(Anls, IsTheLikenessToTheNearestReference) {
  EXPECT_DOUBLE_EQ(anls("1974", Texts{"1974"}), 1.0);
  // One edit in four characters, then in five.
  EXPECT_DOUBLE_EQ(anls("1975", Texts{"1974"}), 0.75);
  EXPECT_DOUBLE_EQ(anls("hella", Texts{"xyz", "hello"}), 0.8);
  EXPECT_DOUBLE_EQ(anls("kitten", Texts{"sitting"}), 1.0 - 3.0 / 7);  // the textbook's three edits
}

TEST(Anls, BelowItsThresholdIsNothingAndAtItCounts) {
  EXPECT_DOUBLE_EQ(anls("ab", Texts{"ax"}), 0.5);
  EXPECT_DOUBLE_EQ(anls("abc", Texts{"axx"}), 0.0);
  EXPECT_DOUBLE_EQ(anls("abc", Texts{"axx"}, 0.3), 1.0 / 3);
  EXPECT_DOUBLE_EQ(anls("", Texts{"a"}), 0.0);
  EXPECT_DOUBLE_EQ(anls("a", Texts{}), 0.0);
  EXPECT_DOUBLE_EQ(anls("", Texts{""}), 1.0);
}

TEST(Anls, KnowsNoCaseNoDoubleBlanksAndCountsCharacters) {
  EXPECT_DOUBLE_EQ(anls("  New \t YORK\n", Texts{"new york"}), 1.0);
  EXPECT_DOUBLE_EQ(anls("ÄÖÜ", Texts{"äöü"}), 1.0);
  EXPECT_DOUBLE_EQ(anls("naïve", Texts{"naive"}), 0.8);
  EXPECT_DOUBLE_EQ(anls("\xff", Texts{"\xfe"}), 0.0);
}

TEST(RelaxedAccuracy, LetsNumbersBeOffByATwentieth) {
  EXPECT_TRUE(relaxed_match("105", "100"));
  EXPECT_FALSE(relaxed_match("105.1", "100"));
  EXPECT_TRUE(relaxed_match("95.0", "100"));
  EXPECT_FALSE(relaxed_match("94.9", "100"));
  EXPECT_TRUE(relaxed_match("-9.6", "-10"));
  EXPECT_TRUE(relaxed_match(" 1e2 ", "1_00") == false);  // a text: it must be the same
  EXPECT_TRUE(relaxed_match("40%", "0.41"));
  EXPECT_TRUE(relaxed_match("41%", "40%"));
  EXPECT_FALSE(relaxed_match("41", "40%"));
  EXPECT_FALSE(relaxed_match("nan", "5"));
  EXPECT_FALSE(relaxed_match("inf", "5"));
}

TEST(RelaxedAccuracy, OfZeroAndOfWordsIsSameness) {
  EXPECT_TRUE(relaxed_match("0", "0"));
  EXPECT_FALSE(relaxed_match("0.0", "0"));
  EXPECT_FALSE(relaxed_match("0.01", "0"));
  EXPECT_TRUE(relaxed_match("Light Blue", "light blue"));
  EXPECT_FALSE(relaxed_match("blue", "light blue"));
  EXPECT_FALSE(relaxed_match("ten", "10"));
  EXPECT_FALSE(relaxed_match("1,000", "1000"));
}

TEST(Choice, IsTheLetterInBracketsOrBetweenBlanksOrTheOptionThatIsNamed) {
  const Texts options = {"cat", "dog", "small bird", "fish"};
  EXPECT_THAT(choice_of("B", options), Optional(Eq(1U)));
  EXPECT_THAT(choice_of("B.", options), Optional(Eq(1U)));
  EXPECT_THAT(choice_of("(C)", options), Optional(Eq(2U)));
  EXPECT_THAT(choice_of("The answer is (D), not A at all", options), Optional(Eq(3U)));
  EXPECT_THAT(choice_of("A or rather C !", options), Optional(Eq(2U)));
  EXPECT_THAT(choice_of("First (A), then I saw it is (B).", options), Optional(Eq(1U)));
  EXPECT_THAT(choice_of("In this picture there is a Small Bird.", options), Optional(Eq(2U)));
  EXPECT_THAT(choice_of("It is no cat but it must be a dog", options), Optional(Eq(1U)));
  // Too short to be searched for an option's text, and a letter that is none.
  EXPECT_THAT(choice_of("a small bird", options), Eq(std::nullopt));
  EXPECT_THAT(choice_of("E", options), Eq(std::nullopt));
  EXPECT_THAT(choice_of("", options), Eq(std::nullopt));
  EXPECT_THAT(choice_of("A", Texts{}), Eq(std::nullopt));
}

TEST(Folded, MakesLettersSmallBeyondAscii) {
  EXPECT_EQ(folded("AZ[ÀÞ×ßĀĶĹŇŸŹŽΑΩАЯЀЏ"), "az[àþ×ßāķĺňÿźžαωаяѐџ");
  EXPECT_EQ(folded("\xff\xc3"), "\xff\xc3");
}

}  // namespace
}  // namespace orch::eval
