// The curve's file: what is in it after a crash, and what a run that goes on takes over.
#include "tuning/curve.h"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <limits>

#include "support/temporary.h"

namespace orch::tuning {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class CurveFile : public testing::Test {
 protected:
  /// What a run that goes on from `step` begins its file with.
  std::string taken_over(const std::string& before, std::int64_t step) {
    std::ofstream(earlier_, std::ios::binary) << before;
    const auto curve = Curve::open(file_, earlier_, step);
    EXPECT_TRUE(curve) << curve.error().what;
    return text_of(file_);
  }

  test::TemporaryFolder folder_;
  fs::path earlier_ = folder_ / "earlier.jsonl", file_ = folder_ / "curve.jsonl";
};

TEST_F(CurveFile, HasTheLinesUpToTheStepThatIsGoneOnFrom) {
  const std::string lines = "{\"step\":0}\n{\"step\":1,\"loss\":2.5}\n{\"step\":2}\n{\"step\":3}\n";
  EXPECT_EQ(taken_over(lines, 2), "{\"step\":0}\n{\"step\":1,\"loss\":2.5}\n{\"step\":2}\n");
  EXPECT_EQ(taken_over(lines, 9), lines);
  EXPECT_EQ(taken_over(lines, -1), "");
  EXPECT_EQ(text_of(earlier_), lines);
}

TEST_F(CurveFile, HasNoLineThatACrashHasTorn) {
  EXPECT_EQ(taken_over("{\"step\":1}\n{\"step\":2,\"lo", 5), "{\"step\":1}\n");
  // Even one that could be read: without its end nobody knows whether more was to come.
  EXPECT_EQ(taken_over("{\"step\":1}\n{\"step\":2}", 5), "{\"step\":1}\n");
  EXPECT_EQ(taken_over("{\"st", 5), "");
}

TEST_F(CurveFile, HasNoLineThatIsNotACurves) {
  const std::string longest = "{\"step\":1,\"note\":\"" + std::string(20000, 'x') + "\"}\n";
  for (const std::string& line :
       {std::string("\n"), std::string("hello\n"), std::string("[1]\n"), std::string("7\n"), std::string("{}\n"),
        std::string("{\"step\":\"1\"}\n"), std::string("{\"step\":1.5}\n"), std::string("{\"step\":null}\n"),
        std::string("\xff\xfe\n"), std::string("\0\0\n", 3), longest}) {
    EXPECT_EQ(taken_over(line + "{\"step\":2}\n", 5), "{\"step\":2}\n") << line.substr(0, 40);
  }
}

TEST_F(CurveFile, ThatWasNotThereIsEmpty) {
  EXPECT_TRUE(Curve::open(file_, folder_ / "none", 5));
  EXPECT_EQ(text_of(file_), "");
  EXPECT_FALSE(Curve::open(folder_ / "no/where.jsonl", folder_ / "none", 5));
}

TEST_F(CurveFile, GrowsByWholeLinesAndIsGoneOnWithItself) {
  {
    auto curve = Curve::open(file_, file_, -1);
    ASSERT_TRUE(curve);
    ASSERT_TRUE(curve->add({{"step", 1}, {"loss", 0.5}}));
    EXPECT_EQ(text_of(file_), "{\"step\":1,\"loss\":0.5}\n");
    ASSERT_TRUE(curve->add({{"step", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}, {"note", "a\nb\xff"}}));
    // What is no number is null, and what is no text does not stop it. A line stays one line.
    EXPECT_EQ(text_of(file_), "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":null,\"note\":\"a\\nb\xef\xbf\xbd\"}\n");
  }
  auto curve = Curve::open(file_, file_, 1);
  ASSERT_TRUE(curve);
  ASSERT_TRUE(curve->add({{"step", 2}, {"loss", 0.25}}));
  EXPECT_EQ(text_of(file_), "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n");
}

TEST_F(CurveFile, OfARunThatWentBackKeepsBothLinesOfAStep) {
  // Only the steps behind the one that is gone on from are left out: the last line of a step counts.
  const std::string lines = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":2,\"note\":\"back\"}\n";
  EXPECT_EQ(taken_over(lines, 2), "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"note\":\"back\"}\n");
}

}  // namespace
}  // namespace orch::tuning
