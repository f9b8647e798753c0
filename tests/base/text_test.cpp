#include "base/text.h"

#include <gmock/gmock.h>

using namespace orch;
using testing::ElementsAre;

TEST(Text, IsTrimmedOfEveryBlank) {
  EXPECT_EQ(trim(" \t\r\n\f\va b \n"), "a b");
  EXPECT_EQ(trim(" \n "), "");
  EXPECT_EQ(trim(""), "");
}

TEST(Text, IsSplitKeepingEmptyParts) {
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), ElementsAre(""));
}

TEST(Text, IsJoinedWithoutATrailingSeparator) {
  EXPECT_EQ(join(std::vector<std::string>{"a", "", "b"}, ", "), "a, , b");
  EXPECT_EQ(join(std::vector<std::string>{}, ", "), "");
}

TEST(Text, LowersOnlyAscii) { EXPECT_EQ(lower("QWEN-É"), "qwen-É"); }

// The well-formed sequences of the Unicode standard, table 3-7.
TEST(Text, KnowsUtf8ByItsTable) {
  for (const char* good : {"", "a", "é", "…", "😀", "\x7f", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2 ", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xE2\x82",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF", "a\xFFz", "é\xA9"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(Text, SaysHowFarItIsUtf8) {
  EXPECT_EQ(utf8_prefix("aé\xFF"
                        "b"),
            3u);
  EXPECT_EQ(utf8_prefix("é\xE2\x82"), 2u);
  EXPECT_EQ(utf8_prefix("all"), 3u);
}

TEST(Text, ShowsControlCharactersAsEscapes) {
  EXPECT_EQ(shown("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(shown("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(shown(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(shown("\xC2\x9B"), "\\xc2\\x9b");  // CSI in 8 bits
  EXPECT_EQ(shown("\xFF"), "\\xff");
  EXPECT_EQ(shown("a\u202Eb"), "a\\xe2\\x80\\xaeb");  // text that is turned round could look like another
  EXPECT_EQ(shown("é…"), "é…");
}

TEST(Text, ShowsOnlyTheBeginningOfALongOne) {
  EXPECT_EQ(shown(std::string(80, 'x')), std::string(80, 'x'));
  EXPECT_EQ(shown(std::string(81, 'x')), std::string(80, 'x') + "…");
  EXPECT_EQ(shown("éééé", 3), "éé…");  // never half a character
  EXPECT_LE(shown(std::string(1 << 20, '\x01')).size(), 90u);
}

TEST(Text, IsQuotedForMessages) { EXPECT_EQ(quote("a\nb"), "'a\\nb'"); }

TEST(Text, MatchesGlobs) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("qwen*", "qwen25_72b"));
  EXPECT_TRUE(glob_match("*_7b", "mistral_7b"));
  EXPECT_TRUE(glob_match("a*b*c", "aXbYbZc"));
  EXPECT_TRUE(glob_match("a?c", "abc"));
  EXPECT_TRUE(glob_match("**", "x"));
  EXPECT_FALSE(glob_match("a?c", "ac"));
  EXPECT_FALSE(glob_match("qwen*", "my_qwen"));
  EXPECT_FALSE(glob_match("", "x"));
  EXPECT_FALSE(glob_match("a*b", "abc"));
  EXPECT_TRUE(is_glob("a*"));
  EXPECT_TRUE(is_glob("a?"));
  EXPECT_FALSE(is_glob("a.[b]"));
}

// A matcher that tries every split would need 10^30 steps here.
TEST(Text, MatchesHostileGlobsInGoodTime) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(10'000, 'a')));
}

TEST(Text, FindsTheNearestName) {
  const std::vector<std::string> known = {"qwen25_72b", "llama31_70b_fp8", "mmlu", "gsm8k"};
  EXPECT_EQ(nearest("qwen25_72", known), "qwen25_72b");
  EXPECT_EQ(nearest("MMLU", known), "mmlu");
  EXPECT_EQ(nearest("gms8k", known), "gsm8k");  // a swap is one edit
  EXPECT_EQ(nearest("falcon", known), std::nullopt);
  EXPECT_EQ(nearest("llama31", known), "llama31_70b_fp8");  // the beginning of one
  EXPECT_EQ(nearest("Qwen25-72B", known), "qwen25_72b");
  EXPECT_EQ(nearest("70b-fp8", known), "llama31_70b_fp8");  // a part of one
  EXPECT_EQ(nearest("75", known), std::nullopt);            // too short to mean anything
  EXPECT_EQ(nearest("", known), std::nullopt);
  EXPECT_EQ(nearest(std::string(1 << 20, 'q'), known), std::nullopt);
  EXPECT_EQ(nearest("x", std::vector<std::string>{}), std::nullopt);
  EXPECT_EQ(nearest("abcdef", std::vector<std::string>{"abcxyz"}),
            std::nullopt);  // three edits of six letters are too many
  EXPECT_EQ(nearest("abcdef", std::vector<std::string>{"abcdxy"}), "abcdxy");
}

TEST(Text, HintsAtANameOrAtNothing) {
  const std::vector<std::string> known = {"mmlu"};
  EXPECT_EQ(hint("mmul", known), "; did you mean 'mmlu'?");
  EXPECT_EQ(hint("zzzzzz", known), "");
}

TEST(Text, CountsThings) {
  EXPECT_EQ(counted(1, "job"), "1 job");
  EXPECT_EQ(counted(0, "job"), "0 jobs");
  EXPECT_EQ(counted(1200, "entry", "entries"), "1,200 entries");
}
