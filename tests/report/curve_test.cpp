// A training's curve as a worker writes it, and as one that means harm would.
#include "report/curve.h"

#include <gmock/gmock.h>

namespace orch::report {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

std::string line(std::int64_t step, double loss) {
  return R"({"step": )" + std::to_string(step) + R"(, "loss": )" + std::to_string(loss) + "}\n";
}

std::vector<std::int64_t> steps_of(const Curve& curve) {
  std::vector<std::int64_t> steps;
  for (const Json& point : curve.points) steps.push_back(point["step"]);
  return steps;
}

TEST(CurvePoint, IsItsNumbersAndItsNote) {
  const auto point = read_point(
      R"({"step": 12, "steps": 300, "loss": 1.5, "reward": null, "held_out": {"loss": 2.25}, "note": "skipped: NaN"})");
  ASSERT_TRUE(point);
  EXPECT_EQ(*point, Json::parse(R"({"step": 12, "steps": 300, "loss": 1.5, "reward": null, "held_out": {"loss": 2.25},
                                    "note": "skipped: NaN"})"));
}

TEST(CurvePoint, LeavesOutWhatIsNoNumber) {
  const auto point = read_point(
      R"({"step": 1, "loss": "1.5", "rate": [1], "norm": true, "<b>": 1, "Loss": 1, "steps": -3, "held_out": {"x": {}}})");
  ASSERT_TRUE(point);
  EXPECT_EQ(*point, Json::parse(R"({"step": 1})"));
}

TEST(CurvePoint, HasAStepOrIsNone) {
  for (const char* const bad : {"", "7", "[]", "{}", R"({"step": -1})", R"({"step": 1.5})", R"({"step": "1"})",
                                R"({"step": 1e300})", R"({"step": 1, "loss": 1e999})", R"({"step": 1, "loss": NaN})",
                                R"({"step": 1)", "{\"step\": 1, \"note\": \"\xff\"}"})
    EXPECT_FALSE(read_point(bad)) << bad;
  EXPECT_TRUE(read_point(R"({"step": 2.0})")) << "a whole number is one however it is written";
}

TEST(CurvePoint, OfStepZeroIsTheModelAsItWasBefore) {
  const Curve curve = read_curve("{\"step\": 0, \"held_out\": {\"loss\": 4}}\n" + line(1, 3));
  EXPECT_THAT(steps_of(curve), ElementsAre(0, 1));
}

TEST(CurvePoint, IsShort) {
  const std::string start = R"({"step": 1, "note": ")";
  const auto point = read_point(start + std::string(1000, 'x') + "\"}");
  ASSERT_TRUE(point);
  EXPECT_THAT((*point)["note"].get<std::string>(), SizeIs(300));
  EXPECT_FALSE(read_point(start + std::string(kMostLine, 'x') + "\"}"));
  // 299 letters and one of two bytes: half of it would be no text.
  EXPECT_THAT((*read_point(start + std::string(299, 'x') + "ä\"}"))["note"].get<std::string>(), SizeIs(299));
}

TEST(LiveLine, IsTheSamePointAgain) {
  EXPECT_EQ(live_line(R"({ "step":3, "loss":0.5, "evil":{"a":"b"} })"), R"({"step":3,"loss":0.5})");
  EXPECT_EQ(live_line("no"), "");
  EXPECT_EQ(live_line(live_line(R"({"step": 3, "loss": 0.1})")), live_line(R"({"step": 3, "loss": 0.1})"));
}

TEST(Curve, EndsWhereItsLastLineIsTorn) {
  const Curve curve = read_curve(line(1, 2) + line(2, 1.5) + R"({"step": 3, "lo)");
  EXPECT_THAT(steps_of(curve), ElementsAre(1, 2));
  EXPECT_EQ(curve.read, 2);
  EXPECT_FALSE(curve.thinned);
}

TEST(Curve, GoesOnFromWhereItWasGoneBackTo) {
  // Steps 1 to 4, back to 2, and on: what 3 and 4 had been is gone.
  const Curve curve = read_curve(line(1, 4) + line(2, 3) + line(3, 9) + line(4, 9) + line(3, 2));
  EXPECT_THAT(steps_of(curve), ElementsAre(1, 2, 3));
  EXPECT_EQ(curve.points[2]["loss"], 2.0);
}

TEST(Curve, PassesOverLinesThatAreNone) {
  EXPECT_THAT(steps_of(read_curve("\n\n{}\nnonsense\n" + line(5, 1) + std::string("\0\n", 2) + line(6, 1))),
              ElementsAre(5, 6));
  EXPECT_THAT(read_curve("").points, SizeIs(0));
}

TEST(Curve, IsThinnedEvenlyAndKeepsItsEnds) {
  std::string text;
  for (int step = 1; step <= 101; ++step) text += line(step, 1);
  // 5 of 101: every 25th, from the first on.
  const Curve curve = read_curve(text, 5);
  EXPECT_THAT(steps_of(curve), ElementsAre(1, 26, 51, 76, 101));
  EXPECT_EQ(curve.read, 101);
  EXPECT_TRUE(curve.thinned);
}

TEST(Curve, KeepsHeldOutPointsWhenItIsThinned) {
  std::string text;
  for (int step = 1; step <= 101; ++step)
    text +=
        step % 40 == 0 ? R"({"step": )" + std::to_string(step) + R"(, "held_out": {"loss": 1}})" + "\n" : line(step, 1);
  EXPECT_THAT(steps_of(read_curve(text, 3)), ElementsAre(1, 40, 51, 80, 101));
}

TEST(Curve, IsBoundedHoweverMuchWasWritten) {
  std::string text;
  for (int step = 1; step <= 40'000; ++step)
    text += R"({"step": )" + std::to_string(step) + R"(, "held_out": {"loss": 1}})" + "\n";
  EXPECT_THAT(read_curve(text).points, SizeIs(kMostCurvePoints));
  EXPECT_EQ(read_curve(text).read, 40'000);
}

}  // namespace
}  // namespace orch::report
