#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "train/average.h"

namespace orch::train {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ScheduleRules rules(Course course, std::int64_t steps, double warmup = 0, int stages = 1) {
  ScheduleRules rules;
  rules.course = course;
  rules.rate = 2e-4;
  rules.warmup = warmup;
  rules.stages = stages;
  rules.steps = steps;
  return rules;
}

// get_cosine_schedule_with_warmup, 20 steps of which 4 warm up: s / 4, then (1 + cos(pi (s - 4) / 16)) / 2.
TEST(Schedule, OfCosineIsThatOfTransformers) {
  const ScheduleRules it = rules(Course::kCosine, 20, 0.2);
  EXPECT_EQ(rate_at(it, 0), 0);
  EXPECT_DOUBLE_EQ(rate_at(it, 1), 0.5e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 3), 1.5e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 4), 2e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 8), 2e-4 * (1 + std::sqrt(0.5)) / 2);  // cos(pi / 4)
  EXPECT_DOUBLE_EQ(rate_at(it, 12), 1e-4);
  EXPECT_NEAR(rate_at(it, 19), 2e-4 * 0.00960735979838479, 1e-18);  // (1 - cos(pi / 16)) / 2
  EXPECT_EQ(rate_at(it, 20), 0);
}

// 0.1 of 25 steps are 2.5: three.
TEST(Schedule, WarmsUpOverWholeStepsRoundedUp) {
  const ScheduleRules it = rules(Course::kConstant, 25, 0.1);
  EXPECT_DOUBLE_EQ(rate_at(it, 2), 2e-4 * 2 / 3);
  EXPECT_DOUBLE_EQ(rate_at(it, 3), 2e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 24), 2e-4);
}

// get_linear_schedule_with_warmup: (20 - s) / (20 - 4).
TEST(Schedule, OfLinearFallsToNothing) {
  const ScheduleRules it = rules(Course::kLinear, 20, 0.2);
  EXPECT_DOUBLE_EQ(rate_at(it, 4), 2e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 5), 2e-4 * 15 / 16);
  EXPECT_DOUBLE_EQ(rate_at(it, 19), 2e-4 / 16);
}

// 31 steps in three stages: 0 to 9, 10 to 19, 20 to 30.
TEST(Schedule, OfThreeStagesIsThreeCoursesThatBeginLower) {
  const ScheduleRules it = rules(Course::kLinear, 31, 0.1, 3);
  EXPECT_EQ(stage_of(it, 9), 0);
  EXPECT_EQ(stage_of(it, 10), 1);
  EXPECT_EQ(stage_of(it, 19), 1);
  EXPECT_EQ(stage_of(it, 20), 2);
  EXPECT_EQ(stage_of(it, 30), 2);
  // The warm-up is a tenth of the run, 4 steps, in the first stage alone.
  EXPECT_EQ(rate_at(it, 0), 0);
  EXPECT_DOUBLE_EQ(rate_at(it, 4), 2e-4);
  EXPECT_DOUBLE_EQ(rate_at(it, 9), 2e-4 / 6);
  EXPECT_DOUBLE_EQ(rate_at(it, 10), 2e-4 * 0.3);
  EXPECT_DOUBLE_EQ(rate_at(it, 15), 2e-4 * 0.3 / 2);
  EXPECT_DOUBLE_EQ(rate_at(it, 20), 2e-4 * 0.1);
  EXPECT_DOUBLE_EQ(rate_at(it, 30), 2e-4 * 0.1 / 11);
}

TEST(Schedule, IsNeverAboveTheHighestRateNorBelowNothing) {
  for (const Course course : {Course::kCosine, Course::kLinear, Course::kConstant, Course::kPlateau})
    for (const int stages : {1, 2, 3})
      for (const double warmup : {0.0, 0.03, 0.5, 1.0})
        for (const std::int64_t steps : {1, 2, 3, 7, 100})
          for (std::int64_t step = 0; step < steps; ++step) {
            const double rate = rate_at(rules(course, steps, warmup, stages), step);
            ASSERT_GE(rate, 0);
            ASSERT_LE(rate, 2e-4);
          }
}

TEST(Schedule, EvaluatesEverySoManyStepsAndAfterTheLast) {
  const ScheduleRules it = rules(Course::kCosine, 60);
  std::vector<std::int64_t> after;
  for (std::int64_t step = 0; step < 60; ++step)
    if (is_evaluated_after(it, step)) after.push_back(step);
  EXPECT_EQ(after, (std::vector<std::int64_t>{24, 49, 59}));
}

TEST(Plateau, LowersTheRateAfterItsPatienceAndRaisesItWhileTheLossFalls) {
  const ScheduleRules it = rules(Course::kPlateau, 1000);
  PlateauState state;
  std::int64_t step = 24;
  const auto factor_after = [&](double loss) {
    state = after_evaluation(it, state, step, loss);
    step += 25;
    return state.factor;
  };
  EXPECT_DOUBLE_EQ(factor_after(2.0), 1) << "the first loss fell from nothing";
  EXPECT_DOUBLE_EQ(factor_after(1.0), 1) << "the highest rate bounds it";
  EXPECT_DOUBLE_EQ(factor_after(1.0), 1) << "patience";
  EXPECT_DOUBLE_EQ(factor_after(0.9995), 0.8) << "a fall of half a thousandth is none";
  EXPECT_DOUBLE_EQ(factor_after(0.9), 0.8 * 1.05);
  EXPECT_DOUBLE_EQ(factor_after(kNan), 0.8 * 1.05);
  EXPECT_DOUBLE_EQ(factor_after(0.95), 0.8 * 1.05 * 0.8);
  EXPECT_DOUBLE_EQ(factor_after(0.8), 0.8 * 1.05 * 0.8 * 1.05);
  EXPECT_DOUBLE_EQ(rate_at(it, step, state), 2e-4 * 0.8 * 1.05 * 0.8 * 1.05);
  for (int i = 0; i < 100; ++i) factor_after(5);
  EXPECT_DOUBLE_EQ(state.factor, 0.01) << "the floor";
  for (int i = 0; i < 200; ++i) factor_after(0.7 * std::pow(0.9, i));
  EXPECT_DOUBLE_EQ(state.factor, 1);
}

TEST(Plateau, HasNothingToFallFromUntilALossIsANumber) {
  const ScheduleRules it = rules(Course::kPlateau, 1000);
  PlateauState state = after_evaluation(it, {}, 24, kNan);
  state = after_evaluation(it, state, 49, std::numeric_limits<double>::infinity());
  EXPECT_EQ(state, (PlateauState{0, 0.8, std::nullopt, 0}));
  EXPECT_EQ(after_evaluation(it, state, 74, 2.0), (PlateauState{0, 0.8, 2.0, 0}));
}

TEST(Plateau, JudgesLossesBelowNothingToo) {
  const ScheduleRules it = rules(Course::kPlateau, 1000);
  const PlateauState lowered{0, 0.5, -1.0, 0};
  EXPECT_EQ(after_evaluation(it, lowered, 24, -1.0005).without_fall, 1);
  EXPECT_EQ(after_evaluation(it, lowered, 24, -1.01).best, -1.01);
}

TEST(Plateau, BeginsAnewInEachStage) {
  const ScheduleRules it = rules(Course::kPlateau, 100, 0, 2);
  const PlateauState first{0, 0.4, 1.0, 1};
  EXPECT_DOUBLE_EQ(rate_at(it, 49, first), 2e-4 * 0.4);
  EXPECT_DOUBLE_EQ(rate_at(it, 50, first), 2e-4 * 0.3);
  EXPECT_EQ(after_evaluation(it, first, 74, 3.0), (PlateauState{1, 1, 3.0, 0}));
}

TEST(Plateau, ComesBackFromJsonBitForBit) {
  for (const PlateauState& state :
       {PlateauState{}, PlateauState{2, 0.1 + 0.2, 1.0 / 3, 1}, PlateauState{1, 0.01, -5e-324, 0}}) {
    const auto back = read_plateau_state(nlohmann::json::parse(json_of(state).dump()));
    ASSERT_TRUE(back) << back.error().what;
    EXPECT_EQ(*back, state);
  }
  EXPECT_FALSE(read_plateau_state(nlohmann::json::object()));
  EXPECT_FALSE(read_plateau_state({{"stage", 0}, {"factor", "x"}, {"without_fall", 0}}));
}

TEST(Average, TakesTheWeightsInEveryFifthStepAndAfterTheLast) {
  std::vector<std::int64_t> after;
  for (std::int64_t step = 0; step < 12; ++step)
    if (average_keeps({}, step, 12)) after.push_back(step);
  EXPECT_EQ(after, (std::vector<std::int64_t>{4, 9, 11}));
  for (std::int64_t step = 0; step < 12; ++step) EXPECT_FALSE(average_keeps({0, 5}, step, 12));
}

// (1 + n) / (10 + n) for n = 0, 1, 2; and after 59 updates 60 / 69.
TEST(Average, KeepsLittleOfItselfAtFirst) {
  EXPECT_DOUBLE_EQ(*average_keeps({}, 4, 12), 0.1);
  EXPECT_DOUBLE_EQ(*average_keeps({}, 9, 12), 2.0 / 11);
  EXPECT_DOUBLE_EQ(*average_keeps({}, 11, 12), 3.0 / 12);
  EXPECT_DOUBLE_EQ(*average_keeps({}, 299, 300), 60.0 / 69);
  EXPECT_DOUBLE_EQ(*average_keeps({}, 999'999, 1'000'000), 0.9999);
  EXPECT_DOUBLE_EQ(*average_keeps({0.5, 5}, 299, 300), 0.5);
}

}  // namespace
}  // namespace orch::train
