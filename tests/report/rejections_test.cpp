// One row a reason.
#include "report/rejections.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

using namespace orch;
using testing::ElementsAre;

namespace {

const std::vector<matrix::Rejection> kRejected = {
    {"falcon_7b", "mmmu", "vision", "sees none", 2},   {"falcon_7b", "docvqa", "vision", "sees none", 1},
    {"tinyllama", "mmmu", "vision", "sees none", 4},   {"tinyllama", "mmlu", "context", "2,048 tokens", 1},
    {"tinyllama", "mmlu", "dtype", "2,048 tokens", 8}, {"*", "sft", "kind", "not of the stage", 3},
};

TEST(Rejections, AreOneRowForOneRuleAndReason) {
  const auto rows = report::rejections_json(kRejected);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["rule"], "vision");
  EXPECT_EQ(rows[0]["count"], 2 + 1 + 4);
  EXPECT_THAT(rows[0]["models"].get<std::vector<std::string>>(), ElementsAre("falcon_7b", "tinyllama"));
  EXPECT_THAT(rows[0]["tasks"].get<std::vector<std::string>>(), ElementsAre("mmmu", "docvqa"));
  EXPECT_EQ(rows[1]["rule"], "context");
  EXPECT_EQ(rows[2]["rule"], "dtype") << "one text, but another rule";
  EXPECT_EQ(report::count_of(kRejected), 19);
}

TEST(Rejections, NameTheOnlyModelAndTaskElseAStar) {
  const auto rows = report::rejections_json(kRejected);
  EXPECT_EQ(rows[0]["model"], "*");
  EXPECT_EQ(rows[0]["task"], "*");
  EXPECT_EQ(rows[1]["model"], "tinyllama");
  EXPECT_EQ(rows[1]["task"], "mmlu");
  EXPECT_EQ(rows[3]["model"], "*") << "the reason is the task's alone";
  EXPECT_EQ(rows[3]["task"], "sft");
}

TEST(Rejections, AreATableThatNamesThreeAtMost) {
  std::vector<matrix::Rejection> many;
  for (const char* model : {"a", "b", "c"}) many.push_back({model, "mmmu", "vision", "sees none", 500});
  std::ostringstream three;
  report::print_rejections(three, {}, report::rejections_json(many));
  EXPECT_NE(three.str().find("  a, b, c  mmmu   vision         1,500  sees none\n"), std::string::npos) << three.str();
  many.push_back({"d", "mmmu", "vision", "sees none", 1});
  std::ostringstream four;
  report::print_rejections(four, {}, report::rejections_json(many));
  EXPECT_NE(four.str().find("a, b + 2 more"), std::string::npos) << four.str();
}

}  // namespace
