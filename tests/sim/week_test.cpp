// Simulated weeks with everything that can go wrong: invariants are checked after every event.
#include "sim/week.h"

#include <gmock/gmock.h>

#include "policy/read.h"

namespace orch::sim {
namespace {

using testing::IsEmpty;

#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kSeedsOfATest = 2;
#else
constexpr std::uint64_t kSeedsOfATest = 25;
#endif

/// A policy with room for 12 jobs, 6 of them queued, 28 of the 32 GPUs and about half of a day of them: the limits are
/// met.
const policy::Policy& busy() {
  static const policy::Policy kPolicy = [] {
    policy::Policy policy = policy::shipped("default");
    policy.per_user.max_jobs = 12;
    policy.per_user.max_queued = 6;
    policy.per_user.max_gpus = 28;
    policy.per_user.gpu_hours = 400;
    policy.per_user.per = policy::Period::kDay;
    policy.zone = *policy::Zone::named("Europe/Stockholm");
    return policy;
  }();
  return kPolicy;
}

class Weeks : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Weeks, EndWithEveryCellSettledOnceWhateverHappens) {
  for (std::uint64_t seed = GetParam() * kSeedsOfATest; seed < (GetParam() + 1) * kSeedsOfATest; ++seed) {
    const WeekReport report = run_week(seed, busy(), {});
    EXPECT_THAT(report.broken, IsEmpty()) << "seed " << seed;
    EXPECT_GT(report.done, 0u) << "seed " << seed;
  }
}
INSTANTIATE_TEST_SUITE_P(FiveHundred, Weeks, testing::Range<std::uint64_t>(0, 20));

TEST(Week, WithNothingGoingWrongDoesEveryCellThatCanBeDone) {
  WeekOptions options;
  options.faults = false;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const WeekReport report = run_week(seed, busy(), options);
    EXPECT_THAT(report.broken, IsEmpty()) << "seed " << seed;
    EXPECT_GT(report.done, report.failed * 6) << "seed " << seed;
  }
}

TEST(Week, IsTheSameForTheSameSeed) {
  const WeekReport first = run_week(7, busy(), {}), again = run_week(7, busy(), {});
  EXPECT_EQ(first.events, again.events);
  EXPECT_EQ(first.submissions, again.submissions);
  EXPECT_EQ(first.done, again.done);
  EXPECT_NE(first.events, run_week(8, busy(), {}).events);
}

}  // namespace
}  // namespace orch::sim
