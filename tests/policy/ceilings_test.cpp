// What a site sets above every policy.
#include "policy/ceilings.h"

#include <gmock/gmock.h>

#include <sstream>

#include "read.h"

namespace orch::policy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::optional<Ceilings> read(const std::string& text, std::string* problems = nullptr) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "ceilings.yaml", diagnostics);
  auto ceilings = root ? read_ceilings(*root, "ceilings.yaml", diagnostics) : std::nullopt;
  std::ostringstream said;
  diagnostics.print(said);
  if (problems) *problems = said.str();
  return ceilings;
}

TEST(Ceilings, LowerWhatIsHigherAndWhatIsNotThere) {
  Policy policy = shipped("default");
  policy.per_user.max_jobs = 30;
  policy.per_user.max_gpus = 8;
  const auto ceilings =
      read("ceilings: {per_user: {jobs: 20, gpus: 64, queued: 5}, per_sweep: {gpu_hours: 100}, idle_timeout: 30s}");
  ASSERT_TRUE(ceilings);
  EXPECT_THAT(*hold_down(policy, *ceilings), ElementsAre("limits.per_user.jobs", "limits.per_user.queued",
                                                         "limits.per_sweep.gpu_hours", "idle_timeout"));
  EXPECT_EQ(policy.per_user.max_jobs, 20);
  EXPECT_EQ(policy.per_user.max_gpus, 8) << "a lower one stays";
  EXPECT_EQ(policy.per_user.max_queued, 5);
  EXPECT_EQ(policy.per_sweep.gpu_hours, 100);
  EXPECT_EQ(policy.idle_timeout, 30);
  EXPECT_THAT(*hold_down(policy, *ceilings), IsEmpty()) << "once is enough";
}

TEST(Ceilings, OfNothingChangeNothing) {
  Policy policy = shipped("tournament");
  EXPECT_THAT(*hold_down(policy, Ceilings{}), IsEmpty());
  EXPECT_EQ(policy.per_user.max_jobs, 12);
}

TEST(Ceilings, BudgetIsComparedWithOneOfTheSamePeriodAlone) {
  const auto ceilings = read("ceilings: {time_zone: Europe/Stockholm, per_user: {gpu_hours: 500, per: day}}");
  ASSERT_TRUE(ceilings);
  Policy policy = shipped("default");
  EXPECT_THAT(*hold_down(policy, *ceilings), ElementsAre("limits.per_user.gpu_hours")) << "with none it is the site's";
  EXPECT_EQ(policy.per_user.gpu_hours, 500);
  EXPECT_EQ(policy.per_user.per, Period::kDay);
  EXPECT_EQ(policy.zone.name(), "Europe/Stockholm");
  policy.per_user.gpu_hours = 3;
  EXPECT_THAT(*hold_down(policy, *ceilings), IsEmpty()) << "a smaller one stays";
  EXPECT_EQ(policy.per_user.gpu_hours, 3);
  policy.per_user.per = Period::kMonth;
  const auto held = hold_down(policy, *ceilings);
  ASSERT_FALSE(held);
  EXPECT_THAT(held.error().what, HasSubstr("is per month, and the site's ceiling is per day"));
  EXPECT_EQ(policy.per_user.gpu_hours, 3);
}

TEST(Ceilings, ThatAreWrongAreToldWithTheirPlace) {
  std::string problems;
  EXPECT_FALSE(read("ceilings: {per_user: {job: 3}}", &problems));
  EXPECT_THAT(problems, HasSubstr("did you mean 'jobs'"));
  EXPECT_FALSE(read("limits: {}", &problems));
  EXPECT_THAT(problems, HasSubstr("ceilings.yaml:1"));
  EXPECT_FALSE(read("ceilings: {per_sweep: {gpu_hours: 1, per: day}}", &problems));
  EXPECT_FALSE(read("ceilings: {idle_timeout: 0s}", &problems));
}

}  // namespace
}  // namespace orch::policy
