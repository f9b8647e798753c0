// Results as a table, as Markdown and as CSV, and the comparison of two sweeps: all expected texts are written by hand.
#include "report/results_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "report/diff_report.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

ordered_json metric(double value) { return {{"value", value}, {"stderr", nullptr}}; }
ordered_json metric(double value, double error) { return {{"value", value}, {"stderr", error}}; }

ordered_json row(const std::string& model, const std::string& task, ordered_json metrics,
                 const std::string& state = "done", ordered_json settings = ordered_json::object()) {
  return {{"key", "k"},           {"sweep", "s1"},      {"model", model}, {"task", task},  {"adapter", nullptr},
          {"settings", settings}, {"metrics", metrics}, {"state", state}, {"attempts", 1}, {"gpu_seconds", 30.5},
          {"seconds", 15},        {"score", 0.5},       {"reason", ""}};
}

std::string printed(const ordered_json& rows, Form form = Form::kText) {
  std::ostringstream out;
  print_results(out, {}, rows, form);
  return out.str();
}

TEST(Metric, HasTheDigitsThatItsErrorLeaves) {
  EXPECT_EQ(metric_text(metric(0.71346, 0.01234)), "0.713 ± 0.012");
  EXPECT_EQ(metric_text(metric(12.3456, 2.5)), "12.3 ± 2.5");
  EXPECT_EQ(metric_text(metric(1234.5, 12)), "1234 ± 12");
  EXPECT_EQ(metric_text(metric(0.5, 0)), "0.5 ± 0");
  EXPECT_EQ(metric_text(metric(0.123456789, 3e-9)), "0.12346 ± 3.0e-09");
  EXPECT_EQ(metric_text(metric(0.123456789, 3e-6)), "0.123457 ± 0.000003");
  EXPECT_EQ(metric_text(metric(0.123456789)), "0.12346");
}

TEST(ResultsTable, HasModelsDownAndTasksAcross) {
  EXPECT_EQ(printed({row("a", "x", {{"acc", metric(0.5, 0.01)}}), row("a", "y", {{"acc", metric(0.25, 0.01)}}),
                     row("b", "x", {}, "failed"), row("b", "y", {}, "waiting")}),
            "  model              x              y\n"
            "  a      0.500 ± 0.010  0.250 ± 0.010\n"
            "  b             failed        waiting\n");
}

TEST(ResultsTable, NamesTheMetricOfATaskThatHasSeveral) {
  EXPECT_EQ(printed({row("a", "x", {{"acc", metric(0.5)}, {"f1", metric(0.75)}}), row("a", "y", {{"acc", metric(1)}})}),
            "  model  x acc  x f1  y\n"
            "  a        0.5  0.75  1\n");
}

TEST(ResultsTable, WithSeveralSettingsHasARowAMetricAndThoseThatDiffer) {
  EXPECT_EQ(printed({row("a", "x", {{"acc", metric(0.5)}}, "done", {{"seed", 0}, {"shots", 5}}),
                     row("a", "x", {}, "failed", {{"seed", 1}, {"shots", 5}})}),
            "  model  task  seed  metric  value  state\n"
            "  a      x     0     acc       0.5  done\n"
            "  a      x     1                    failed\n");
}

TEST(ResultsTable, TakesSettingsThatOtherKindsOfCellsDoNotHaveForNoDifference) {
  ordered_json asked = row("a", "x", {{"acc", metric(0.25)}}, "done", {{"dtype", "fp32"}, {"shots", 0}});
  ordered_json taught = row("a", "y", {{"loss", metric(0.5)}}, "done", {{"dtype", "bf16"}, {"rank", 8}});
  asked["kind"] = "eval";
  taught["kind"] = "train";
  EXPECT_EQ(printed({asked, taught}),
            "  model  task  dtype  metric  value  state\n"
            "  a      x     fp32   acc      0.25  done\n"
            "  a      y     bf16   loss      0.5  done\n");
  ordered_json other = taught;
  other["settings"].erase("rank");
  EXPECT_NE(printed({asked, taught, other}).find("rank"), std::string::npos) << "of one kind it is one";
}

TEST(ResultsTable, OfTooManyTasksForAScreenIsLong) {
  ordered_json rows = ordered_json::array();
  for (int i = 0; i < 13; ++i) rows.push_back(row("a", "t" + std::to_string(i), {{"acc", metric(1)}}));
  EXPECT_THAT(printed(rows), testing::StartsWith("  model  task  metric  value  state\n  a      t0    acc"));
}

TEST(ResultsTable, AsMarkdownEscapesBars) {
  EXPECT_EQ(printed(ordered_json::array({row("a|b", "x", {{"acc", metric(0.5)}})}), Form::kMarkdown),
            "| model | x |\n"
            "| --- | ---: |\n"
            "| a\\|b | 0.5 |\n");
}

TEST(ResultsCsv, HasALineAMetricAndOneForACellWithout) {
  std::ostringstream out;
  ordered_json failed = row("b,1", "x", {}, "failed");
  failed["reason"] = "it said \"no\"\nand ended";
  ordered_json done = row("a", "x", {{"acc", metric(0.1, 0.02)}, {"f1", metric(0.75)}}, "done", {{"seed", 1}});
  done["figures"] = {{"tokens", 60}, {"memory", 1024}, {"tokens_per_second", 4.0}};
  write_results_csv(out, {done, failed});
  EXPECT_EQ(out.str(),
            "sweep,key,model,task,adapter,settings,state,attempts,gpu_seconds,seconds,tokens,tokens_per_second,memory,"
            "metric,value,stderr,reason\r\n"
            "s1,k,a,x,,\"{\"\"seed\"\":1}\",done,1,30.5,15,60,4.0,1024,acc,0.1,0.02,\r\n"
            "s1,k,a,x,,\"{\"\"seed\"\":1}\",done,1,30.5,15,60,4.0,1024,f1,0.75,,\r\n"
            "s1,k,\"b,1\",x,,{},failed,1,30.5,15,,,,,,,\"it said \"\"no\"\"\nand ended\"\r\n");
}

// Differences.

ordered_json compared(const ordered_json& a, const ordered_json& b) { return compare_results("s1", a, "s2", b); }

std::string verdict(const char* name, const ordered_json& a, const ordered_json& b) {
  const auto rows = [name](const ordered_json& of) { return ordered_json::array({row("m", "t", {{name, of}})}); };
  return compared(rows(a), rows(b))["rows"][0]["verdict"];
}

TEST(Diff, CountsADifferenceBeyondTwoStandardErrors) {
  // sqrt(0.03² + 0.04²) = 0.05: 0.1 is chance, and more is not.
  EXPECT_EQ(verdict("acc", metric(0.5, 0.03), metric(0.599, 0.04)), "same");
  EXPECT_EQ(verdict("acc", metric(0.5, 0.03), metric(0.601, 0.04)), "improvement");
  EXPECT_EQ(verdict("acc", metric(0.5, 0.03), metric(0.399, 0.04)), "regression");
}

TEST(Diff, TakesAsManyErrorsForChanceAsItIsTold) {
  const ordered_json a = ordered_json::array({row("m", "t", {{"acc", metric(0.5, 0.03)}})}),
                     b = ordered_json::array({row("m", "t", {{"acc", metric(0.36, 0.04)}})});
  // The fall of 0.14 is 2.8 times the error of the difference, 0.05.
  EXPECT_EQ(compare_results("s1", a, "s2", b, 2.7)["regression"], 1);
  EXPECT_EQ(compare_results("s1", a, "s2", b, 2.9)["regression"], 0);
  EXPECT_EQ(compare_results("s1", a, "s2", b, 2.9)["same"], 1);
}

TEST(Diff, TakesAMetricWithoutAnErrorToBeExact) {
  EXPECT_EQ(verdict("acc", metric(0.5), metric(0.4999)), "regression");
  EXPECT_EQ(verdict("acc", metric(0.1 + 0.2), metric(0.3)), "same") << "but for rounding";
}

TEST(Diff, KnowsMetricsOfWhichLessIsBetter) {
  EXPECT_EQ(verdict("eval_loss", metric(1), metric(2)), "regression");
  EXPECT_EQ(verdict("eval_loss", metric(2), metric(1)), "improvement");
  for (const char* name : {"loss", "word_perplexity", "ppl", "wer", "test-WER", "Error_rate", "bits_per_byte",
                           "brier_score", "ter", "a/mse", "edit_distance,none"})
    EXPECT_TRUE(lower_is_better(name)) << name;
  for (const char* name : {"acc", "answer_acc", "power", "f1", "filter", "criterion", ""})
    EXPECT_FALSE(lower_is_better(name)) << name;
}

TEST(Diff, MatchesCellsByModelTaskAndSettingsInAnyOrder) {
  const ordered_json a = {row("m", "t", {{"acc", metric(1)}}, "done", {{"seed", 0}, {"shots", 5}}),
                          row("m", "t", {{"acc", metric(2)}}, "done", {{"seed", 1}, {"shots", 5}})};
  const ordered_json b = {row("m", "t", {{"acc", metric(2)}}, "done", {{"shots", 5}, {"seed", 1}}),
                          row("m", "t", {{"acc", metric(1)}}, "done", {{"shots", 5}, {"seed", 0}})};
  const ordered_json comparison = compared(a, b);
  EXPECT_EQ(comparison["cells"], 2);
  EXPECT_EQ(comparison["same"], 2);
}

TEST(Diff, NamesWhatIsInOneAlone) {
  const ordered_json comparison =
      compared({row("m", "gone", {{"acc", metric(1)}}), row("m", "broken", {{"acc", metric(1)}}),
                row("m", "t", {{"acc", metric(1)}, {"f1", metric(1)}})},
               {row("m", "broken", {}, "failed"), row("m", "t", {{"acc", metric(1)}}), row("m", "new", {}, "done")});
  EXPECT_EQ(comparison["only_a"], 3) << "gone, broken, f1";
  EXPECT_EQ(comparison["only_b"], 1);
  EXPECT_EQ(comparison["same"], 1);
  EXPECT_EQ(comparison["regression"], 0);
}

TEST(Diff, IsPrintedWithTheWorstFirst) {
  std::ostringstream out;
  print_sweep_diff(out, {},
                   compared({row("m", "t", {{"acc", metric(0.5, 0.01)}}), row("m", "u", {{"acc", metric(0.5)}}),
                             row("m", "v", {{"acc", metric(1)}})},
                            {row("m", "t", {{"acc", metric(0.75, 0.01)}}), row("m", "u", {{"acc", metric(0.25)}}),
                             row("m", "v", {{"acc", metric(1)}})}));
  EXPECT_EQ(out.str(),
            "               model  task  settings  metric             s1             s2  difference\n"
            "  regression   m      u               acc               0.5           0.25       -0.25\n"
            "  improvement  m      t               acc     0.500 ± 0.010  0.750 ± 0.010       +0.25\n"
            "\n"
            "3 cells of both compared: 1 regression, 1 improvement, 1 the same within the standard errors.\n");
}

}  // namespace
}  // namespace orch::report
