#include "comm/host_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace orch::comm {
namespace {

namespace fs = std::filesystem;

constexpr double kNone = std::numeric_limits<double>::infinity();

/// The number behind `name` in a file of `name number` lines; of an empty name the file's first word.
std::optional<double> number_in(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    if (!name.empty() && (!(words >> word) || word != name)) continue;
    double number = 0;
    return words >> number ? std::optional(number) : std::nullopt;  // `max` is no number: no limit
  }
  return std::nullopt;
}

/// What a group's limit leaves. Files that it has read are counted as used, though they give way.
double left_in(const fs::path& group, const char* limit, const char* used, const char* files) {
  const auto most = number_in(group / limit, ""), now = number_in(group / used, "");
  if (!most || !now) return kNone;
  return std::max(0.0, *most - *now + number_in(group / "memory.stat", files).value_or(0));
}

}  // namespace

double memory_left(const fs::path& root) {
  double left = kNone;
  if (const auto free = number_in(root / "proc/meminfo", "MemAvailable:")) left = *free * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // `NUMBER:CONTROLLERS:/PATH`; without controllers it is version 2. A group's own limit counts, and those above it.
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_memory = ("," + controllers + ",").find(",memory,") != std::string::npos;
    if (!controllers.empty() && !is_memory) continue;
    const fs::path top = root / (is_memory ? "sys/fs/cgroup/memory" : "sys/fs/cgroup");
    fs::path below = fs::path(line.substr(second + 1)).relative_path();
    for (;;) {
      left = std::min(left, is_memory ? left_in(top / below, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                                "total_inactive_file")
                                      : left_in(top / below, "memory.max", "memory.current", "inactive_file"));
      if (below.empty()) break;
      below = below.parent_path();
    }
  }
  return left == kNone ? 0 : left;
}

std::int64_t most_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace orch::comm
