#include "report/table.h"

#include <gmock/gmock.h>

#include <sstream>

using namespace orch::report;

namespace {

std::string printed(const Table& table, Style style = {}) {
  std::ostringstream out;
  table.print(out, style);
  return out.str();
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width("tp 2 × pp 3"), 11u);
  EXPECT_EQ(display_width("模型"), 4u) << "each takes two columns";
  EXPECT_EQ(display_width("e\xCC\x81"), 1u) << "a combining accent takes none";
  EXPECT_EQ(display_width("a\xE2\x80\x8D"), 1u) << "nor does a joiner";
  EXPECT_EQ(display_width("\xF0\x9F\x98\x80"), 2u) << "a picture takes two";
  EXPECT_EQ(display_width(""), 0u);
}

TEST(Table, AlignsNumbersRightAndTextLeft) {
  Table table({{"model"}, {"GPUs", Align::kRight}});
  table.add({"a", "16"});
  table.add({"falcon", "4"});
  EXPECT_EQ(printed(table),
            "  model   GPUs\n"
            "  a         16\n"
            "  falcon     4\n");
}

TEST(Table, AlignsByWhatStandsOnTheTerminal) {
  Table table({{"x"}, {"y"}});
  table.add({"×", "1"});
  table.add({"ab", "2"});
  EXPECT_EQ(printed(table), "  x   y\n  ×   1\n  ab  2\n");
}

TEST(Table, PrintsNothingWithoutRows) { EXPECT_EQ(printed(Table({{"x"}})), ""); }

TEST(Table, ShowsControlCharactersAsEscapes) {
  Table table({{"name"}});
  table.add({"a\x1b[2Jb\nc"});
  EXPECT_EQ(printed(table), "  name\n  a\\x1b[2Jb\\nc\n");
}

TEST(Table, CutsWhatIsTooWideWithAnEllipsis) {
  Table table({{"reason", Align::kLeft, 6}});
  table.add({"abcdefgh"});
  table.add({"abcdef"});
  EXPECT_EQ(printed(table), "  reason\n  abcde…\n  abcdef\n");
}

TEST(Table, WrapsALastColumnOfTextWhereTheTerminalIsNarrow) {
  Table table({{"job"}, {"reason", Align::kLeft, 400}});
  table.add({"j1", "beyond the budget of the sweep, which is 12"});
  // 30 columns: 2 + 3 + 2 before the reason leave 23 for it.
  EXPECT_EQ(printed(table, {false, 30}),
            "  job  reason\n"
            "  j1   beyond the budget of\n"
            "       the sweep, which is 12\n");
  EXPECT_EQ(printed(table, {false, 200}), printed(table));
}

TEST(Table, BreaksAWordThatIsWiderThanTheTerminal) {
  Table table({{"k"}, {"path", Align::kLeft, 400}});
  table.add({"a", "/abcdefghijklmnopqrstuvwxyz"});
  EXPECT_EQ(printed(table, {false, 25}), "  k  path\n  a  /abcdefghijklmnopqrs\n     tuvwxyz\n");
}

TEST(Table, IsLeftToATerminalTooNarrowToWrapIn) {
  Table table({{"job"}, {"reason", Align::kLeft, 400}});
  table.add({"j1", "beyond the budget of the sweep"});
  EXPECT_EQ(printed(table, {false, 20}), printed(table));
}

TEST(Table, NeverWrapsNumbers) {
  Table table({{"job"}, {"numbers", Align::kRight}});
  table.add({"j1", "1,000,000 1,000,000 1,000,000"});
  EXPECT_EQ(printed(table, {false, 30}), printed(table));
}

TEST(Table, FillsShortRows) {
  Table table({{"a"}, {"b"}});
  table.add({"1"});
  EXPECT_EQ(printed(table), "  a  b\n  1\n");
}

TEST(Style, ColoursOnlyWhenAsked) {
  EXPECT_EQ(bold({}, "x"), "x");
  EXPECT_EQ(bold({true}, "x"), "\x1b[1mx\x1b[0m");
}

}  // namespace
