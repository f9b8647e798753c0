// What a change of policy looks like, to people and to programs.
#include "report/policy_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

using namespace orch;
using testing::HasSubstr;

namespace {

nlohmann::ordered_json change_of(const nlohmann::ordered_json& changes, const std::string& key) {
  for (const auto& change : changes)
    if (change["key"] == key) return change;
  return nullptr;
}

/// The line of the table that begins with `key`, without the space around its words.
std::string line_of(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first, all;
    words >> first;
    if (first != key) continue;
    for (std::string word; words >> word;) all += (all.empty() ? "" : " ") + word;
    return all;
  }
  return "no such line";
}

struct TwoPolicies {
  policy::Policy a, b;
  TwoPolicies() {
    a.families["llama"] = 0.95;
    b.families["llama"] = 0.1;
    b.acceptance.max_duration = 72000;
    b.acceptance.families = {"llama", "qwen"};
    a.per_sweep.max_jobs = 1200;
    a.time_horizon = 3600;
    b.time_horizon = 3601;
    a.remedies[policy::Cause::kNan] = {{policy::Remedy::kLowerRate, 2, 0.5}, {policy::Remedy::kGiveUp}};
  }
};

TEST(PolicyChanges, AreNumbersListsAndNulls) {
  const TwoPolicies two;
  const auto changes = report::changes_json(two.a, two.b);
  EXPECT_EQ(change_of(changes, "families.llama"),
            (nlohmann::ordered_json{{"key", "families.llama"}, {"from", 0.95}, {"to", 0.1}}));
  EXPECT_TRUE(change_of(changes, "families.llama")["from"].is_number());
  EXPECT_EQ(change_of(changes, "limits.per_sweep.jobs")["from"], 1200);
  EXPECT_TRUE(change_of(changes, "limits.per_sweep.jobs")["to"].is_null());
  EXPECT_EQ(change_of(changes, "acceptance.max_duration")["to"], "72000s");
  EXPECT_EQ(change_of(changes, "acceptance.families")["to"], (nlohmann::ordered_json{"llama", "qwen"}));
}

TEST(PolicyChanges, ReadAsPeopleSayThem) {
  const TwoPolicies two;
  std::ostringstream out;
  report::print_changes(out, {}, report::changes_json(two.a, two.b));
  EXPECT_EQ(line_of(out.str(), "families.llama"), "0.95 0.10");
  EXPECT_EQ(line_of(out.str(), "limits.per_sweep.jobs"), "1,200 -");
  EXPECT_EQ(line_of(out.str(), "acceptance.max_duration"), "- 20 h");
  EXPECT_EQ(line_of(out.str(), "acceptance.families"), "- llama, qwen");
  EXPECT_EQ(line_of(out.str(), "remedies.nan"), "lower_rate × 2 (factor 0.50), give_up -");
}

TEST(PolicyChanges, TellApartTwoDurationsThatRoundToOne) {
  const TwoPolicies two;
  std::ostringstream out;
  report::print_changes(out, {}, report::changes_json(two.a, two.b));
  EXPECT_EQ(line_of(out.str(), "time.horizon"), "1 h 1 h (3601s)");
}

TEST(PolicyChanges, OfOnePolicyAreNone) {
  const TwoPolicies two;
  std::ostringstream out;
  report::print_changes(out, {}, report::changes_json(two.a, two.a));
  EXPECT_THAT(out.str(), HasSubstr("same numbers"));
}

TEST(PolicyReport, ShowsALadderInOneRowAndAnEmptyMapAsADash) {
  const TwoPolicies two;
  std::ostringstream out;
  report::print_policy(out, {}, two.a);
  EXPECT_EQ(line_of(out.str(), "remedies.nan"), "lower_rate × 2 (factor 0.50), give_up");
  EXPECT_EQ(line_of(out.str(), "limits.per_user"), "-");
  EXPECT_EQ(line_of(out.str(), "success.strength"), "10");
}

TEST(PolicyComparison, ListsForEachReasonWhatOneSideRejectsMore) {
  const Catalog catalog;
  const Cluster cluster;
  const policy::Policy policy;
  const planner::Site site{catalog, cluster, policy, {}};
  const matrix::Expansion expansion;
  planner::Plan a, b;
  a.rejected = {
      {"x", "t", "size", "too large", 5}, {"x", "t", "vision", "sees none", 2}, {"y", "t", "min_score", "low", 1}};
  b.rejected = {
      {"x", "t", "size", "too large", 3}, {"x", "t", "vision", "sees none", 2}, {"x", "t", "min_score", "low", 1}};
  const auto json = report::compare_plans({a, expansion, site}, {b, expansion, site});
  ASSERT_EQ(json["no_longer_rejected"].size(), 2u) << json.dump();
  EXPECT_EQ(json["no_longer_rejected"][0]["rule"], "size");
  EXPECT_EQ(json["no_longer_rejected"][0]["count"], 5 - 3);
  EXPECT_EQ(json["no_longer_rejected"][1]["models"][0], "y");
  ASSERT_EQ(json["newly_rejected"].size(), 1u) << json.dump();
  EXPECT_EQ(json["newly_rejected"][0]["models"][0], "x") << "as many, but another model";
  EXPECT_EQ(json["a"]["rejected"], 8);
}

}  // namespace
