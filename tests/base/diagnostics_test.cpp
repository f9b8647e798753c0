#include "base/diagnostics.h"

#include <sstream>

#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre;

TEST(Diagnostics, AreToldInTheOrderOfFilesLinesAndColumns) {
  Diagnostics d;
  d.error({"b.yaml", 9, 1}, "one");
  d.error({"a.yaml", 1, 1}, "two");
  d.error({"b.yaml", 2, 5}, "three");
  d.error({"b.yaml", 2, 4}, "four");
  d.error({"b.yaml"}, "five");
  EXPECT_THAT(lines(d), ElementsAre("b.yaml: five", "b.yaml:2:4: four", "b.yaml:2:5: three", "b.yaml:9:1: one",
                                    "a.yaml:1:1: two"));
}

TEST(Diagnostics, TellOneFaultOnce) {
  Diagnostics d;
  d.error({"f", 1, 1}, "x");
  d.error({"f", 1, 1}, "x");
  d.error({"f", 1, 2}, "x");
  EXPECT_EQ(d.error_count(), 2u);
  d.warn({"f", 1, 1}, "y");
  d.warn({"f", 1, 1}, "y");
  EXPECT_EQ(d.warnings().size(), 1u);
}

TEST(Diagnostics, AreWellWithWarningsOnly) {
  Diagnostics d;
  d.warn({"f"}, "y");
  EXPECT_TRUE(d.ok());
  std::ostringstream out;
  d.print(out);
  EXPECT_EQ(out.str(), "f: note: y\n");
  d.error({"f"}, "x");
  EXPECT_FALSE(d.ok());
}

TEST(Diagnostics, CountPastTheirLimitWhatTheyNoLongerKeep) {
  Diagnostics d;
  for (int i = 1; i <= 1000; ++i) {
    d.error({"f", i, 1}, "x");
    d.warn({"f", i, 1}, "y");
  }
  EXPECT_EQ(d.error_count(), 1000u);
  EXPECT_EQ(d.errors().size(), Diagnostics::kMost);
  EXPECT_EQ(d.warnings().size(), Diagnostics::kMost);
  std::ostringstream out;
  d.print(out);
  EXPECT_THAT(out.str(), testing::HasSubstr("f:200:1: x\n… and 800 more errors\n"));
}

TEST(Diagnostics, AreOneSafeLineWhateverTheFileHolds) {
  Diagnostics diagnostics;
  diagnostics.error({"a\x1b[2Jb.yaml", 1, 2}, "no \x1b[31mmodel\n \xff");
  std::ostringstream out;
  diagnostics.print(out);
  EXPECT_EQ(out.str(), "a\\x1b[2Jb.yaml:1:2: no \\x1b[31mmodel\\n \\xff\n");
}

TEST(Diagnostics, APlaceHasALineOnlyWhereItIsKnown) {
  EXPECT_EQ(to_string(Place{"f", 3, 10}), "f:3:10");
  EXPECT_EQ(to_string(Place{"f", 3, 0}), "f:3:1");
  EXPECT_EQ(to_string(Place{"f", 0, 0}), "f");
}
