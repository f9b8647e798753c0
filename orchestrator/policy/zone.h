// A named time zone, for budgets whose days begin where their people live.
//
// Holds: a zone is a value; what it says of a moment never changes while the program runs. Zones come from the system's
// own database (tzdata), through Howard Hinnant's date library, of which C++20's time zones are a copy: GCC 12 has
// none.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace date {
class time_zone;
}

namespace orch::policy {

enum class Period { kEver, kDay, kWeek, kMonth };
std::string_view name_of(Period period);

class Zone {
 public:
  using Utc = std::chrono::sys_time<std::chrono::milliseconds>;

  /// UTC.
  Zone() = default;
  /// `Europe/Stockholm`; nothing where the system knows no such zone.
  static std::optional<Zone> named(const std::string& name);

  const std::string& name() const { return name_; }
  /// When the day, the week (from Monday) or the month began in which `at` lies; of kEver the beginning of time. A
  /// midnight that a change of clocks leaves out is the moment of the change, one that comes twice the first.
  Utc beginning(Period period, Utc at) const;

  bool operator==(const Zone& other) const { return name_ == other.name_; }

 private:
  std::string name_ = "UTC";
  const date::time_zone* zone_ = nullptr;  ///< of the library, which keeps it as long as the program runs; UTC: none
};

}  // namespace orch::policy
