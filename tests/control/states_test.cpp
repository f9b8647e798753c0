// docs/states.md is what the code allows.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "control/cell.h"
#include "control/job.h"
#include "control/sweep.h"
#include "support/source_dir.h"

namespace orch::control {
namespace {

using Arrows = std::set<std::pair<std::string, std::string>>;

/// The arrows under each heading of the page.
std::map<std::string, Arrows> drawn() {
  std::ifstream page(test::source_dir() / "docs" / "states.md");
  std::map<std::string, Arrows> drawn;
  std::string line, heading;
  while (std::getline(page, line)) {
    if (line.starts_with("## ")) heading = line.substr(3);
    std::istringstream words(line);
    std::string from, arrow, to;
    if (words >> from >> arrow >> to && arrow == "->") drawn[heading].emplace(from, to);
  }
  return drawn;
}

template <class States>
Arrows allowed(const States& states) {
  Arrows arrows;
  for (const auto from : states)
    for (const auto to : states)
      if (may_become(from, to)) arrows.emplace(name_of(from), name_of(to));
  return arrows;
}

TEST(States, OfCellsAreDrawnAsTheyAre) { EXPECT_EQ(drawn()["Cells"], allowed(kCellStates)); }
TEST(States, OfSweepsAreDrawnAsTheyAre) { EXPECT_EQ(drawn()["Sweeps"], allowed(kSweepStates)); }
TEST(States, OfJobsAreDrawnAsTheyAre) { EXPECT_EQ(drawn()["Jobs"], allowed(kJobStates)); }

TEST(Ends, AreReadAsTheyAreNamed) {
  for (const End end : kEnds) EXPECT_EQ(end_named(name_of(end)), end);
  EXPECT_EQ(end_named("exploded"), std::nullopt);
}

}  // namespace
}  // namespace orch::control
