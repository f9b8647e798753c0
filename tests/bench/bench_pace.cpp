// How often Slurm's queue is looked at in an hour, by the rules of cluster/pace.h driven through simulated time:
// nothing is waited for. Printed as JSON, in looks an hour: while nothing changes, and while every look shows a change.
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "cluster/pace.h"

namespace {

using namespace orch::cluster;

/// Over so many hours the chance in the intervals evens out.
constexpr int kHours = 1000;

double looks_an_hour(bool changes) {
  LookPace pace;
  std::mt19937_64 random(1);
  std::uniform_real_distribution<> part;
  const Moment end = std::chrono::hours(kHours);
  Moment now{0};
  int looks = 0;
  for (; now < end; ++looks) {
    pace.looked(now, changes, part(random));
    now = pace.next();
  }
  return static_cast<double>(looks) / kHours;
}

}  // namespace

int main() {
  std::cout << nlohmann::json{{"quiet", looks_an_hour(false)}, {"changing", looks_an_hour(true)}}.dump() << std::endl;
}
