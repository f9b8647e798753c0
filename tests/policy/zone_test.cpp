// Where days, weeks and months of a budget begin. Expected moments are worked out from the calendar and the zones'
// known offsets: Stockholm is UTC+1, from the last Sunday of March to that of October UTC+2; Kathmandu is UTC+5:45.
#include "policy/zone.h"

#include <gtest/gtest.h>

namespace orch::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::sys_days;
using namespace std::chrono_literals;

Zone zone(const std::string& name) {
  const auto found = Zone::named(name);
  EXPECT_TRUE(found) << name;
  return found.value_or(Zone());
}

Zone::Utc utc(std::chrono::year_month_day day, minutes of_day = 0min) { return sys_days(day) + of_day; }

TEST(Zone, DayBeginsAtMidnightOfThePlace) {
  const auto now = utc(2026y / 11 / 21, 23h + 30min);
  EXPECT_EQ(Zone().beginning(Period::kDay, now), utc(2026y / 11 / 21));
  EXPECT_EQ(zone("Europe/Stockholm").beginning(Period::kDay, now), utc(2026y / 11 / 21, 23h)) << "there it is the 22nd";
  EXPECT_EQ(zone("America/New_York").beginning(Period::kDay, now), utc(2026y / 11 / 21, 5h));
  EXPECT_EQ(zone("Asia/Kathmandu").beginning(Period::kDay, now), utc(2026y / 11 / 21, 18h + 15min));
}

TEST(Zone, DayOnWhichClocksChangeBeginsByTheOldTime) {
  // On 29 March 2026 Stockholm goes from +1 to +2 at 02:00, on 25 October back at 03:00.
  EXPECT_EQ(zone("Europe/Stockholm").beginning(Period::kDay, utc(2026y / 3 / 29, 12h)), utc(2026y / 3 / 28, 23h));
  EXPECT_EQ(zone("Europe/Stockholm").beginning(Period::kDay, utc(2026y / 3 / 30, 12h)), utc(2026y / 3 / 29, 22h));
  EXPECT_EQ(zone("Europe/Stockholm").beginning(Period::kDay, utc(2026y / 10 / 25, 12h)), utc(2026y / 10 / 24, 22h));
}

TEST(Zone, MidnightThatThereIsNotIsTheMomentOfTheChange) {
  // Santiago de Chile went from 00:00 to 01:00 on 6 September 2026's counterpart, 8 September 2019: UTC-4 to UTC-3.
  EXPECT_EQ(zone("America/Santiago").beginning(Period::kDay, utc(2019y / 9 / 8, 12h)), utc(2019y / 9 / 8, 4h));
}

TEST(Zone, WeekBeginsOnMondayAndMonthOnTheFirst) {
  // 21 November 2026 is a Saturday.
  const auto now = utc(2026y / 11 / 21, 12h);
  EXPECT_EQ(Zone().beginning(Period::kWeek, now), utc(2026y / 11 / 16));
  EXPECT_EQ(Zone().beginning(Period::kWeek, utc(2026y / 11 / 16)), utc(2026y / 11 / 16)) << "a Monday";
  EXPECT_EQ(Zone().beginning(Period::kMonth, now), utc(2026y / 11 / 1));
  EXPECT_EQ(zone("Europe/Stockholm").beginning(Period::kMonth, now), utc(2026y / 10 / 31, 23h));
  EXPECT_LT(Zone().beginning(Period::kEver, now), utc(1900y / 1 / 1));
}

TEST(Zone, ThatTheSystemDoesNotKnowIsNone) {
  for (const char* name : {"Europe/Atlantis", "", "/etc/passwd", "../../etc/passwd", "europe", "CET-1CEST "})
    EXPECT_FALSE(Zone::named(name)) << name;
}

}  // namespace
}  // namespace orch::policy
