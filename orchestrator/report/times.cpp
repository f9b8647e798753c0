#include "report/times.h"

#include <cstdio>
#include <ctime>

namespace orch::report {

std::string local_time(std::string_view utc, Precision precision) {
  const std::string text(utc);
  std::tm parts{};
  int end = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &end) != 6 ||
      static_cast<std::size_t>(end) != text.size())
    return text;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  const std::time_t time = timegm(&parts);
  std::tm local{};
  if (time == -1 || !localtime_r(&time, &local)) return text;
  char buffer[64];
  const char* const format = precision == Precision::kSeconds ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M";
  return {buffer, std::strftime(buffer, sizeof buffer, format, &local)};
}

}  // namespace orch::report
