// orch_soak FIRST COUNT: simulated weeks with the seeds from FIRST on. A seed that breaks an invariant is printed, and
// replays exactly.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "policy/read.h"
#include "sim/week.h"

namespace {

std::optional<std::uint64_t> number(const char* text) {
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0') return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  const auto first = argc == 3 ? number(argv[1]) : std::nullopt;
  const auto count = argc == 3 ? number(argv[2]) : std::nullopt;
  if (!first || !count) {
    std::cerr << "usage: orch_soak FIRST COUNT\n";
    return 2;
  }
  orch::policy::Policy policy = orch::policy::shipped("default");
  policy.per_user.max_jobs = 12;
  policy.per_user.max_queued = 6;
  policy.per_user.max_gpus = 28;
  policy.per_user.gpu_hours = 400;
  policy.per_user.per = orch::policy::Period::kDay;
  policy.zone = *orch::policy::Zone::named("Europe/Stockholm");
  std::uint64_t broken = 0, events = 0, crashes = 0, cells = 0;
  for (std::uint64_t seed = *first; seed < *first + *count; ++seed) {
    const orch::sim::WeekReport report = orch::sim::run_week(seed, policy, {});
    events += report.events;
    crashes += report.crashes;
    cells += report.cells;
    if (report.broken.empty()) continue;
    ++broken;
    std::cout << "seed " << seed << ": " << report.broken << std::endl;
  }
  std::cout << *count << " weeks from seed " << *first << ": " << broken << " broken; " << events << " events, "
            << cells << " cells, " << crashes << " crashes of the daemon" << std::endl;
  return broken ? 1 : 0;
}
