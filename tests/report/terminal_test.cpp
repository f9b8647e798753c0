#include "report/terminal.h"

#include <gtest/gtest.h>

namespace orch::report {
namespace {

TEST(Terminal, GetsLinesTabsAndColoursAndNothingElseThatIsNoText) {
  EXPECT_EQ(for_terminal("a\tb\r\nc é 世"), "a\tb\r\nc é 世");
  EXPECT_EQ(for_terminal("\x1b[1;31mred\x1b[0m"), "\x1b[1;31mred\x1b[0m");
  EXPECT_EQ(for_terminal("\x1b[m"), "\x1b[m");
  // Clearing the screen, the window's title, an unfinished sequence, a bell, and the second block of controls.
  EXPECT_EQ(for_terminal("\x1b[2J"), "\uFFFD[2J");
  EXPECT_EQ(for_terminal("\x1b]0;title\a"), "\uFFFD]0;title\uFFFD");
  EXPECT_EQ(for_terminal("\x1b[31"), "\uFFFD[31");
  EXPECT_EQ(for_terminal("\x1b"), "\uFFFD");
  EXPECT_EQ(for_terminal("a\x7f\xc2\x9b"
                         "2J"),
            "a\uFFFD\uFFFD2J");
  EXPECT_EQ(for_terminal("\xc2\xa0"), "\xc2\xa0");
  EXPECT_EQ(for_terminal(std::string_view("\0", 1)), "\uFFFD");
}

}  // namespace
}  // namespace orch::report
