// What explain says of one cell.
#include "report/explain_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "matrix/own_names.h"
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

TEST(ExplainedCell, SaysWhichNamesAreTheMatrixsOwn) {
  const auto explained = [](const std::string& picks) {
    Diagnostics diagnostics;
    const Catalog shipped = orch::test::small_catalog();
    const auto matrix =
        orch::test::read("name: m\nkind: command\ncommand: [p, '{model}']\n" + picks, shipped, diagnostics);
    const Catalog catalog = matrix::with_own_names(*matrix, shipped);
    const matrix::Expansion expansion = *matrix::expand(*matrix, catalog, {}, diagnostics);
    planner::Plan plan;
    plan.job_of.assign(expansion.cells.size(), matrix::kNone);
    const Cluster cluster;
    const policy::Policy policy;
    const auto json = report::cell_json(0, plan, expansion, planner::Site{catalog, cluster, policy, {}});
    std::ostringstream out;
    report::print_cell(out, {}, json);
    return json["own_names"].dump() + "\n" + out.str();
  };
  const auto says = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  const std::string both = explained("models: [house]\ntasks: [contracts]\n");
  EXPECT_TRUE(both.starts_with("[\"model\",\"task\"]\n"));
  EXPECT_TRUE(says(both, "model and task are names of the matrix's own, of which the catalog knows nothing\n")) << both;
  const std::string task = explained("models: [flux_dev]\ntasks: [contracts]\n");
  EXPECT_TRUE(task.starts_with("[\"task\"]\n"));
  EXPECT_TRUE(says(task, "  task is a name of the matrix's own")) << task;
  const std::string none = explained("models: [flux_dev]\ntasks: [mmlu]\n");
  EXPECT_TRUE(none.starts_with("[]\n"));
  EXPECT_FALSE(says(none, "matrix's own")) << none;
}
