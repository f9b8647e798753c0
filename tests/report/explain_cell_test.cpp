// What explain says of one cell.
#include "report/explain_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/small_catalog.h"

using namespace orch;

TEST(ExplainedCell, OfATrainingShowsTheChoicesForItsModelAndTask) {
  const Catalog catalog = orch::test::small_catalog();
  matrix::ExpandOptions options;
  options.train_defaults = [](const Model& model, const Task& task, matrix::Settings&) {
    return std::vector<std::string>{"rank of " + model.name + " for " + task.name};
  };
  const matrix::Expansion expansion = orch::test::expanded(
      "name: m\nstages:\n  tune: {kind: train, models: [llama31_8b, tinyllama], tasks: [sft, dpo]}\n"
      "  tuned: {adapter: tune, models: [tinyllama], tasks: [mmlu]}\n",
      catalog, options);
  planner::Plan plan;  // in which nothing is accepted
  plan.job_of.assign(expansion.cells.size(), matrix::kNone);
  const Cluster cluster;
  const policy::Policy policy;
  const planner::Site site{catalog, cluster, policy, {}};
  const auto json = report::cell_json(1, plan, expansion, site);
  ASSERT_EQ(json["model"], "llama31_8b");
  ASSERT_EQ(json["task"], "dpo");
  EXPECT_EQ(json["notes"], nlohmann::ordered_json::array({"rank of llama31_8b for dpo"}));
  std::ostringstream out;
  report::print_cell(out, {}, json);
  EXPECT_NE(out.str().find("  rank of llama31_8b for dpo\n"), std::string::npos);
  EXPECT_EQ(out.str().find("tinyllama"), std::string::npos);

  const auto evaluation = report::cell_json(4, plan, expansion, site);
  ASSERT_EQ(evaluation["kind"], "eval");
  EXPECT_FALSE(evaluation.contains("notes"));
}
