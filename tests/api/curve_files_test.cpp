// Where a training's curve is found, and what is read where somebody put something else.
#include "api/curve_files.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "support/temporary.h"

namespace orch::api {
namespace {

namespace fs = std::filesystem;
using orch::test::TemporaryFolder;
using testing::Eq;
using testing::Optional;
using testing::SizeIs;

struct CurveFiles : testing::Test {
  fs::path put(const std::string& attempt, const std::string& text = "{\"step\": 1}\n") {
    const fs::path folder = folder_ / attempt;
    fs::create_directories(folder);
    std::ofstream(folder / "curve.jsonl") << text;
    return folder / "curve.jsonl";
  }
  std::optional<fs::path> newest(std::uint32_t cell) const {
    return newest_curve({folder_ / "a", folder_ / "b", folder_ / "none"}, control::CellId{cell});
  }
  TemporaryFolder folder_;
};

TEST_F(CurveFiles, AreThoseOfTheNewestAttemptInWhateverJob) {
  put("a/cells/3-9");
  const fs::path newest_one = put("b/cells/3-10");
  put("a/cells/3-2");
  put("a/cells/33-50");
  put("a/cells/3-99x");
  put("a/cells/3-");
  fs::create_directories(folder_ / "a/cells/3-40");  // it has begun, and has written no step
  EXPECT_THAT(newest(3), Optional(Eq(newest_one)));
  EXPECT_THAT(newest(4), Eq(std::nullopt));
  EXPECT_THAT(curve_of(folder_ / "b", control::CellId{3}, control::Ticket{10}), Optional(Eq(newest_one)));
  EXPECT_THAT(curve_of(folder_ / "a", control::CellId{3}, control::Ticket{10}), Eq(std::nullopt));
  EXPECT_EQ(attempt_name(control::CellId{3}, control::Ticket{10}), "3-10");
}

TEST_F(CurveFiles, AreFilesAndNothingElse) {
  const fs::path real = put("a/cells/1-1");
  for (const char* const attempt : {"a/cells/1-2", "a/cells/1-3", "a/cells/1-4"})
    fs::create_directories(folder_ / attempt);
  fs::create_symlink(real, folder_ / "a/cells/1-2/curve.jsonl");
  ASSERT_EQ(::mkfifo((folder_ / "a/cells/1-3/curve.jsonl").c_str(), 0600), 0);
  fs::create_directories(folder_ / "a/cells/1-4/curve.jsonl");
  EXPECT_THAT(newest(1), Optional(Eq(real)));
  // Had they come there just now, nobody would wait for them either.
  for (const char* const attempt : {"a/cells/1-2", "a/cells/1-3", "a/cells/1-4", "a/cells/1-5"})
    EXPECT_THAT(read_curve_file(folder_ / attempt / "curve.jsonl", 100).curve.points, SizeIs(0)) << attempt;
  EXPECT_THAT(read_curve_file(real, 100).curve.points, SizeIs(1));
}

TEST_F(CurveFiles, ThatAreTooLargeAreReadFromTheirBeginning) {
  const fs::path file = put("a/cells/1-1", "{\"step\": 1}\n{\"step\": 2}\n");
  EXPECT_TRUE(read_curve_file(file, 100).whole);
  fs::resize_file(file, report::kMostCurve + 1);  // zeros to the end
  const CurveRead read = read_curve_file(file, 100);
  EXPECT_FALSE(read.whole);
  EXPECT_EQ(read.curve.read, 2);
}

}  // namespace
}  // namespace orch::api
