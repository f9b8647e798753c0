// Times as people read them: on their own clock. What programs read is UTC.
#pragma once

#include <string>
#include <string_view>

namespace orch::report {

enum class Precision { kMinutes, kSeconds };

/// `2026-11-21T17:00:00Z` as `2026-11-21 18:00` in the zone of this machine or of $TZ. Other text comes back as it is.
std::string local_time(std::string_view utc, Precision precision = Precision::kMinutes);

}  // namespace orch::report
