#include "policy/zone.h"

#include <date/tz.h>

namespace orch::policy {

std::string_view name_of(Period period) {
  switch (period) {
    case Period::kEver:
      return "ever";
    case Period::kDay:
      return "day";
    case Period::kWeek:
      return "week";
    case Period::kMonth:
      return "month";
  }
  return "";
}

std::optional<Zone> Zone::named(const std::string& name) {
  Zone zone;
  if (name == "UTC") return zone;
  // The library reads the file of that name below the database's folder.
  if (name.empty() || name.front() == '/' || name.find("..") != std::string::npos) return std::nullopt;
  try {
    zone.zone_ = date::locate_zone(name);
    // The library reads the zone's file when it is first asked something; here it may fail.
    (void)zone.beginning(Period::kDay, Utc{});
  } catch (const std::runtime_error&) {
    return std::nullopt;
  }
  zone.name_ = name;
  return zone;
}

Zone::Utc Zone::beginning(Period period, Utc at) const {
  if (period == Period::kEver) return Utc::min();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  const date::local_days day = std::chrono::floor<date::days>(zone_ ? zone_->to_local(seconds)
                                                                    : date::local_seconds(seconds.time_since_epoch()));
  date::local_days first = day;
  if (period == Period::kWeek) first = day - (date::weekday(day) - date::Monday);
  if (period == Period::kMonth) {
    const date::year_month_day of(day);
    first = date::local_days(of.year() / of.month() / 1);
  }
  const date::local_seconds midnight(first);
  const date::sys_seconds began =
      zone_ ? zone_->to_sys(midnight, date::choose::earliest) : date::sys_seconds(midnight.time_since_epoch());
  return Utc(began.time_since_epoch());
}

}  // namespace orch::policy
