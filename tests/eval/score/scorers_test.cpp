// The shipped tasks whose scorers are not the evaluation's own, on questions of their formats.
#include "eval/score/scorers.h"

#include <gmock/gmock.h>

#include "support/source_dir.h"

namespace orch::eval {
namespace {

using testing::HasSubstr;

Task shipped(const std::string& name) {
  Diagnostics diagnostics;
  auto task = load_task(test::source_dir() / "db/tasks" / (name + ".yaml"), diagnostics);
  if (!task) throw std::runtime_error(name + " cannot be read");
  task->shots.count = 0;
  return *task;
}

const sandbox::Sandbox& box() {
  static const auto opened = sandbox::Sandbox::open(ORCH_SANDBOX);
  if (!opened) throw std::runtime_error(opened.error().what);
  return *opened;
}

/// The score of each answer to the one question there is; an error as a text of its own.
std::vector<double> scores(const std::string& task, const Document& document, const std::vector<std::string>& answers) {
  const auto evaluation = Evaluation::make(shipped(task), {document}, {}, {}, all_scorers(&box()));
  if (!evaluation) throw std::runtime_error(evaluation.error().what);
  std::vector<double> all;
  for (const std::string& answer : answers) {
    const auto scored = evaluation->score(0, {{{0, 0}, Generated{answer, 1}}});
    if (!scored) throw std::runtime_error(scored.error().what);
    all.push_back(scored->scores.at(0));
  }
  return all;
}

using Scores = std::vector<double>;

TEST(Scorers, RunHumanEvalsTests) {
  const Document question = {
      {"task_id", "x/0"},
      {"prompt", "def add(a, b):\n    \"\"\"The sum.\"\"\"\n"},
      {"entry_point", "add"},
      {"test", "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) == 0\n"}};
  EXPECT_EQ(scores("humaneval", question,
                   {"    return a + b\n", "    return a - b\n", "    import os; os._exit(0)\n", "    return a +"}),
            (Scores{1, 0, 0, 0}));
}

TEST(Scorers, RunMbppsAsserts) {
  const Document question = {{"text", "Write a function that doubles."},
                             {"code", "def f(x):\n    return 2 * x"},
                             {"test_list", {"assert f(2) == 4", "assert f(math.inf) == math.inf", "assert f(0) == 0"}},
                             {"test_setup_code", "import math"}};
  EXPECT_EQ(
      scores("mbpp", question, {"def f(x):\n    return x + x", "def f(x):\n    return x * x * x", "def g(x): pass"}),
      (Scores{1, 0, 0}));
}

TEST(Scorers, RunProgramsThatReadInput) {
  const std::string sum = "print(sum(int(x) for x in input().split()))", first = "print(input().split()[0])";
  const Document contest = {
      {"name", "sum"},
      {"description", "Add."},
      {"time_limit", 1.0},
      {"tests", {{{"input", "1 2\n"}, {"output", "3\n"}}, {{"input", "5 0\n"}, {"output", "5"}}}}};
  EXPECT_EQ(scores("codecontests", contest, {sum, first, "while True: pass"}), (Scores{1, 0, 0}));
  const Document apps = {{"question", "Add."},
                         {"starter_code", ""},
                         {"difficulty", "interview"},
                         {"input_output", R"({"inputs": ["1 2\n", "5 0\n"], "outputs": ["3\n", "5\n"]})"}};
  EXPECT_EQ(scores("apps", apps, {sum, first}), (Scores{1, 0}));
}

TEST(Scorers, CallFunctionsThatAppsNames) {
  const Document question = {
      {"question", "Join."},
      {"starter_code", "def join(a, b):"},
      {"difficulty", "interview"},
      {"input_output",
       R"({"fn_name": "join", "inputs": [["a\"'\\", "é\n"], ["", "b"]], "outputs": [["a\"'\\é\n"], ["b"]]})"}};
  EXPECT_EQ(
      scores("apps", question,
             {"def join(a, b):\n    return a + b", "class Solution:\n    def join(self, a, b):\n        return a + b",
              "def join(a, b):\n    return b + a"}),
      (Scores{1, 1, 0}));
  Document hostile = question;
  hostile["input_output"] = R"({"fn_name": "join\nimport os", "inputs": [[]], "outputs": [[]]})";
  EXPECT_THROW(scores("apps", hostile, {"x"}), std::runtime_error);
}

TEST(Scorers, JudgeFunctionCalls) {
  const Document question = {
      {"category", "simple"},
      {"id", "simple_0"},
      {"question", {{{{"role", "user"}, {"content", "The weather in Oslo?"}}}}},
      {"function",
       {{{"name", "weather"},
         {"parameters",
          {{"type", "dict"}, {"properties", {{"city", {{"type", "string"}}}}}, {"required", {"city"}}}}}}},
      {"ground_truth", {{{"weather", {{"city", {"Oslo"}}}}}}}};
  EXPECT_EQ(scores("bfcl", question, {"[weather(city=\"Oslo\")]", "[weather(city=\"Bergen\")]", "It rains."}),
            (Scores{1, 0, 0}));
}

TEST(Scorers, CompareAnswersAboutPictures) {
  EXPECT_EQ(scores("docvqa", {{"question", "Who?"}, {"answers", {"Anna Berg", "A. Berg"}}},
                   {"anna berg", "Anna Burg", "nobody"}),
            (Scores{1, 1 - 1.0 / 9, 0}));
  EXPECT_EQ(scores("chartqa", {{"question", "How many?"}, {"answer", "100"}}, {"104", "106", "one hundred"}),
            (Scores{1, 0, 0}));
  EXPECT_EQ(scores("mmmu",
                   {{"question", "Which?"},
                    {"question_type", "multiple-choice"},
                    {"options", "[\"red\", \"green\"]"},
                    {"answer", "B"}},
                   {"B", "(B)", "A", "neither"}),
            (Scores{1, 1, 0, 0}));
  EXPECT_EQ(
      scores("scienceqa",
             {{"question", "Which?"}, {"image", nullptr}, {"hint", ""}, {"choices", {"a cat", "a dog"}}, {"answer", 0}},
             {"A", "B"}),
      (Scores{1, 0}));
}

TEST(Scorers, OfProgramsAreRefusedWithoutABox) {
  const Task task = shipped("humaneval");
  EXPECT_TRUE(runs_programs(task));
  EXPECT_FALSE(runs_programs(shipped("gsm8k")));
  const auto evaluation = Evaluation::make(task, {}, {}, {}, all_scorers(nullptr));
  ASSERT_FALSE(evaluation);
  EXPECT_THAT(evaluation.error().what, HasSubstr("'humaneval' is scored by 'code', which is not to be had here"));
}

}  // namespace
}  // namespace orch::eval
