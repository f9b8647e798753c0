#include "http/message.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace orch::http {
namespace {

using testing::ElementsAre, testing::IsEmpty, testing::Pair;

TEST(Secret, IsNotPrintedByStreamsNorByTests) {
  const Secret secret("s3cr3t");
  std::ostringstream out;
  out << secret << Secret();
  EXPECT_EQ(out.str(), "(secret)(none)");
  EXPECT_EQ(testing::PrintToString(secret), "(secret)");
}

TEST(Secret, MatchesItselfAloneAndNothingWhenItIsEmpty) {
  EXPECT_TRUE(Secret("abc").matches("abc"));
  EXPECT_FALSE(Secret("abc").matches("abd"));
  EXPECT_FALSE(Secret("abc").matches("abcd"));
  EXPECT_FALSE(Secret("abc").matches(""));
  EXPECT_FALSE(Secret().matches(""));
}

TEST(BearerToken, IsReadWhateverTheCaseOfTheScheme) {
  EXPECT_EQ(bearer_token("Bearer abc").reveal(), "abc");
  EXPECT_EQ(bearer_token("bEARER   abc ").reveal(), "abc");
  EXPECT_TRUE(bearer_token("Basic abc").empty());
  EXPECT_TRUE(bearer_token("Bearer").empty());
  EXPECT_TRUE(bearer_token("").empty());
}

TEST(Percent, DecodesWhatItEncodes) {
  std::string all;
  for (int c = 1; c < 128; ++c) all += static_cast<char>(c);
  all += "é漢";
  EXPECT_EQ(percent_decode(percent_encode(all)), all);
  EXPECT_EQ(percent_encode("a/b?c&d=é +~"), "a%2Fb%3Fc%26d%3D%C3%A9%20%2B~");
}

TEST(Percent, RefusesBadEscapesNulAndWhatIsNotUtf8) {
  for (const char* bad : {"%", "%2", "a%zz", "%0", "%00", "a%00b", "%ff", "%c3", "%ed%a0%80"})
    EXPECT_EQ(percent_decode(bad), std::nullopt) << bad;
}

TEST(Percent, TakesAPlusForABlankOnlyWhereItIsAsked) {
  EXPECT_EQ(percent_decode("a+b"), "a+b");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
}

TEST(Target, IsAPathWithDecodedPairsInTheirOrder) {
  const auto target = split_target("/v1/a%2Fb?x=1&y=%26+z&x=2&flag&=&&");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/v1/a%2Fb");
  EXPECT_THAT(target->query,
              ElementsAre(Pair("x", "1"), Pair("y", "& z"), Pair("x", "2"), Pair("flag", ""), Pair("", "")));
}

TEST(Target, MayBeAbsolute) {
  EXPECT_EQ(split_target("http://host:80/p?q=1")->path, "/p");
  EXPECT_EQ(split_target("HTTPS://host")->path, "/");
  EXPECT_EQ(split_target("*")->path, "*");
}

TEST(Target, IsRefusedWhenItIsNotSound) {
  for (const char* bad : {"", "hello", "/a#b", "/%zz", "/a?b=%", "ftp://host/", "http://host?q"})
    EXPECT_FALSE(split_target(bad)) << bad;
}

TEST(Request, GivesTheFirstOfEqualNames) {
  Request request;
  request.query = {{"a", "1"}, {"a", "2"}};
  ASSERT_TRUE(request.asked("a"));
  EXPECT_EQ(*request.asked("a"), "1");
  EXPECT_EQ(request.asked("b"), nullptr);
  EXPECT_EQ(request.part("none"), "");
}

TEST(ErrorResponse, IsOneShapeWhateverTheSentenceHolds) {
  const Response response = error_response(404, "no \"sweep\"\n\xff");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.content_type, "application/json");
  const auto json = nlohmann::json::parse(response.body);
  EXPECT_EQ(json["error"]["status"], 404);
  EXPECT_EQ(json["error"]["what"], "no \"sweep\"\n\uFFFD");
  EXPECT_EQ(json.size(), 1u);
  EXPECT_EQ(json["error"].size(), 2u);
}

}  // namespace
}  // namespace orch::http
