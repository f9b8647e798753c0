#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "planner/work.h"

namespace orch::planner {
namespace {

TEST(History, SaysNothingBeforeTheThirdMeasurement) {
  History history;
  history.add("m", "t", "p", 1.0);
  history.add("m", "t", "p", 2.0);
  EXPECT_FALSE(history.quantile("m", "t", "p", 0.5));
  history.add("m", "t", "p", 3.0);
  EXPECT_EQ(history.quantile("m", "t", "p", 0.5), 2.0);
}

TEST(History, AQuantileIsAMeasurementAndOfFewTheLongest) {
  History history;
  for (const double seconds : {5.0, 1.0, 4.0, 2.0, 3.0}) history.add("m", "t", "p", seconds);
  EXPECT_EQ(history.quantile("m", "t", "p", 0.95), 5.0);
  EXPECT_EQ(history.quantile("m", "t", "p", 0.5), 3.0);
  EXPECT_EQ(history.quantile("m", "t", "p", 0.0), 1.0);
  EXPECT_EQ(history.quantile("m", "t", "p", 1.0), 5.0);
}

TEST(History, KeepsModelsTasksAndProfilesApart) {
  History history;
  for (int i = 0; i < 3; ++i) history.add("m", "t", "p", 1.0);
  EXPECT_FALSE(history.quantile("m", "t", "q", 0.5));
  EXPECT_FALSE(history.quantile("m", "u", "p", 0.5));
  EXPECT_FALSE(history.quantile("n", "t", "p", 0.5));
  EXPECT_EQ(history.find("n", "t", "p"), nullptr);
}

TEST(History, TakesNoTimeThatIsNotOne) {
  History history;
  history.add("m", "t", "p", std::nan(""));
  history.add("m", "t", "p", std::numeric_limits<double>::infinity());
  history.add("m", "t", "p", -1.0);
  EXPECT_EQ(history.find("m", "t", "p"), nullptr);
}

TEST(History, ForgetsTheOldestOfAThousand) {
  History history;
  for (int i = 0; i <= 1000; ++i) history.add("m", "t", "p", i);
  ASSERT_NE(history.find("m", "t", "p"), nullptr);
  EXPECT_EQ(history.find("m", "t", "p")->seconds_per_unit.size(), 1000u);
  EXPECT_EQ(history.find("m", "t", "p")->seconds_per_unit.front(), 1.0);
}

TEST(History, OutcomesAddUpAndNeverOverflow) {
  History history;
  history.add_outcomes("llama", "eval", 3, 1);
  history.add_outcomes("llama", "eval", 2, 0);
  EXPECT_EQ(history.evidence("llama", "eval").succeeded, 5);
  EXPECT_EQ(history.evidence("llama", "eval").failed, 1);
  EXPECT_EQ(history.evidence("qwen", "eval").succeeded, 0);
  const auto most = std::numeric_limits<std::int64_t>::max();
  history.add_outcomes("llama", "eval", most, -5);
  history.add_outcomes("llama", "eval", most, 0);
  EXPECT_GT(history.evidence("llama", "eval").succeeded, 5);
  EXPECT_EQ(history.evidence("llama", "eval").failed, 1);
}

}  // namespace
}  // namespace orch::planner
