#include "eval/harness_task.h"

#include <gmock/gmock.h>

#include "eval/evaluation.h"
#include "import.h"

namespace orch::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::filesystem::path folder() { return test::source_dir() / "tests/eval/data/harness"; }

Task loaded(const std::string& name) {
  Diagnostics diagnostics;
  auto task = load_task(folder() / (name + ".yaml"), diagnostics);
  if (task) return *task;
  std::ostringstream shown;
  diagnostics.print(shown);
  throw std::runtime_error(shown.str());
}

TEST(HarnessTasks, AreAskedByteForByteAsTheHarnessAsksThem) {
  const Json all = test::recorded("prompts.json");
  ASSERT_EQ(all["harness"].size(), 3u);
  for (const Json& recorded : all["harness"]) {
    SCOPED_TRACE(recorded["task"].get<std::string>());
    const auto evaluation = Evaluation::open(loaded(recorded["task"]), folder(), {});
    ASSERT_TRUE(evaluation) << evaluation.error().what;
    Json asked = Json::array();
    for (std::size_t sample = 0; sample < evaluation->questions().size(); ++sample) {
      const auto requests = evaluation->questions().requests(sample);
      ASSERT_TRUE(requests) << requests.error().what;
      for (const Request& request : *requests) {
        if (const auto* likelihood = std::get_if<LogLikelihood>(&request.what))
          asked.push_back({likelihood->context, likelihood->continuation});
        else
          asked.push_back({std::get<Generation>(request.what).prompt, std::get<Generation>(request.what).stop[0]});
      }
    }
    EXPECT_EQ(asked, recorded["requests"]);
  }
}

TEST(HarnessTasks, KeepWhatTheirFilesSayOfGenerationAndScores) {
  const Task task = loaded("things");
  EXPECT_EQ(task.kind, Kind::kGenerate);
  EXPECT_EQ(task.sampling.max_new_tokens, 5);
  EXPECT_EQ(task.sampling.temperature, 0);  // do_sample: false
  EXPECT_EQ(task.data, "test.jsonl");
  EXPECT_TRUE(task.scorer.exact_match.ignore_punctuation);
  ASSERT_EQ(task.extractions.size(), 1u);
  EXPECT_EQ(task.extractions[0].name, "first word");
  EXPECT_EQ(loaded("colours").metrics, (std::vector<std::string>{"acc", "acc_norm"}));
}

TEST(HarnessTasks, FindTheirDataByTheNamesOfTheHub) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(
      "{task: t, dataset_path: org/set, dataset_name: main, validation_split: dev, doc_to_text: q, doc_to_target: a, "
      "metric_list: [{metric: "
      "exact_match}]}",
      "t.yaml", diagnostics);
  const auto task = read_harness_task(*root, "t.yaml", diagnostics);
  ASSERT_TRUE(task);
  EXPECT_EQ(task->data, "org/set/main/dev.jsonl");
  EXPECT_TRUE(task->shots.leaves_out_question);  // no test split, no split of examples: equal names to the harness
  EXPECT_THAT(task->sampling.stop, ElementsAre("\n\n"));
}

std::string problem(const std::string& text) {
  Diagnostics diagnostics;
  if (const auto root = parse_yaml(text, "t.yaml", diagnostics)) read_harness_task(*root, "t.yaml", diagnostics);
  std::ostringstream shown;
  diagnostics.print(shown);
  return shown.str();
}

TEST(HarnessTasks, ThatCallPythonAreRefusedWithTheReason) {
  EXPECT_THAT(problem("task: t\ndoc_to_text: !function utils.f\n"),
              HasSubstr("t.yaml:2:14: '!function' calls a function of Python, and none is called here"));
  EXPECT_THAT(problem("task: t\nprocess_docs: utils.f\n"),
              HasSubstr("t.yaml:2:15: 'process_docs' is a Python function"));
}

TEST(HarnessTasks, OutsideOfTheSubsetAreRefusedWithTheReason) {
  const std::string begin = "task: t\ndataset_path: d\ntest_split: s\ndoc_to_text: q\ndoc_to_target: a\n";
  EXPECT_THAT(problem(begin + "output_type: loglikelihood_rolling\n"),
              HasSubstr("can be multiple_choice or generate_until here"));
  EXPECT_THAT(problem(begin + "metric_list: [{metric: bleu}]\n"), HasSubstr("the metric 'bleu' is not known here"));
  EXPECT_THAT(problem(begin + "filter_list: [{name: n, filter: [{function: format_span}]}]\n"),
              HasSubstr("the filter 'format_span' is not known here"));
  EXPECT_THAT(problem(begin + "doc_to_txt: q\n"), HasSubstr("t.yaml:6:1: "));
  EXPECT_THAT(problem("group: g\ntask: [a, b]\n"), HasSubstr("this is a group of tasks"));
  EXPECT_THAT(problem(begin + "dataset_kwargs: {data_files: {s: ../x.jsonl}}\n"),
              HasSubstr("must not be reached by '..'"));
}

TEST(HarnessTasks, ThatIncludeThemselvesAreRefused) {
  test::TemporaryFolder temporary;
  std::ofstream(temporary / "a.yaml") << "include: a.yaml\ntask: a\n";
  Diagnostics diagnostics;
  EXPECT_FALSE(load_task(temporary / "a.yaml", diagnostics));
  std::ostringstream shown;
  diagnostics.print(shown);
  EXPECT_THAT(shown.str(), HasSubstr("more than 16 files include each other"));
}

TEST(HarnessTasks, SayWhichOfTheirFilesIsWrong) {
  test::TemporaryFolder temporary;
  std::ofstream(temporary / "base.yaml") << "dataset_path: d\nnonsense: 1\n";
  std::ofstream(temporary / "a.yaml") << "include: base.yaml\ntask: a\ntest_split: s\ndoc_to_text: q\ndoc_to_target: "
                                         "a\nmetric_list: [{metric: exact_match}]\n";
  Diagnostics diagnostics;
  EXPECT_FALSE(load_task(temporary / "a.yaml", diagnostics));
  ASSERT_EQ(diagnostics.errors().size(), 1u);
  EXPECT_THAT(diagnostics.errors()[0].place.file, HasSubstr("base.yaml"));
  EXPECT_EQ(diagnostics.errors()[0].place.line, 2);
}

}  // namespace
}  // namespace orch::eval
