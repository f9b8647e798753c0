#include <gmock/gmock.h>

#include <cmath>

#include "eval/evaluation.h"
#include "eval/math_answer.h"
#include "eval/score/code.h"
#include "import.h"

namespace orch::eval {
namespace {

using testing::HasSubstr;

/// The tolerance of sums that numpy takes in another order.
constexpr double kRounding = 1e-12;
constexpr double kKept = 2e-11;  // what a tally keeps of a score

Answer answer_of(std::uint64_t sample, std::uint32_t index, const Json& made_up) {
  if (made_up.is_string()) return {{sample, index}, Generated{made_up.get<std::string>(), 1}};
  return {{sample, index}, Likelihood{made_up[0].get<double>(), made_up[1].get<bool>(), 1}};
}

void compare_run(const Json& run, const std::filesystem::path& folder) {
  AskSettings settings;
  settings.shots = 0;
  const Task task = test::shipped_task(run["task"]);
  // The recorded answers are of the first questions of each part.
  std::map<std::string, std::size_t> asked;
  for (const Json& part : run["parts"]) asked[part["group"]] = part["answers"].size();
  std::vector<Document> documents;
  const auto loaded = load_documents(folder / task.data);
  for (const Document& document : *loaded) {
    const std::string group = task.group_by.empty() ? "" : document[task.group_by].get<std::string>();
    if (const auto at = asked.find(group); at != asked.end() && at->second > 0) {
      --at->second;
      documents.push_back(document);
    }
  }
  const auto evaluation = Evaluation::make(task, documents, {}, settings);
  ASSERT_TRUE(evaluation) << evaluation.error().what;
  std::vector<SampleScore> samples;
  std::map<std::string, std::size_t> place;
  for (std::size_t sample = 0; sample < documents.size(); ++sample) {
    const std::string& group = evaluation->questions().group(sample);
    const auto part = std::ranges::find_if(run["parts"], [&](const Json& each) { return each["group"] == group; });
    const std::size_t at = place[group]++;
    std::vector<Answer> answers;
    for (const Json& made_up : (*part)["answers"][at])
      answers.insert(answers.begin(), answer_of(sample, static_cast<std::uint32_t>(answers.size()), made_up));
    auto scored = evaluation->score(sample, answers);
    ASSERT_TRUE(scored) << scored.error().what;
    for (std::size_t i = 0; i < evaluation->score_names().size(); ++i) {
      const ScoreName& name = evaluation->score_names()[i];
      const std::string metric = name.metric == "mc2" ? "acc" : name.metric;
      const Json& expected = (*part)["scores"][metric + "," + name.extraction][at];
      EXPECT_NEAR(scored->scores[i], expected.get<double>(), kRounding) << group << " " << at << " " << name.extraction;
    }
    samples.push_back(std::move(*scored));
  }
  const auto summary = evaluation->summary(samples);
  ASSERT_TRUE(summary) << summary.error().what;
  for (const Summary::Row& row : summary->rows) {
    const std::string key = (row.name.metric == "mc2" ? "acc" : row.name.metric) + "," + row.name.extraction;
    const Mean whole = pooled(row.parts);
    EXPECT_NEAR(whole.value, run["whole"][key][0].get<double>(), kKept) << key;
    EXPECT_NEAR(whole.standard_error.value(), run["whole"][key][1].get<double>(), kKept) << key;
    for (const Json& part : run["parts"]) {
      if (part["group"] == "") continue;
      const Mean mean = row.parts.at(part["group"]).mean();
      EXPECT_NEAR(mean.value, part["means"][key][0].get<double>(), kKept) << key;
      EXPECT_NEAR(mean.standard_error.value(), part["means"][key][1].get<double>(), kKept) << key;
    }
  }
}

void compare(const std::string& data, const std::filesystem::path& folder, std::size_t least) {
  std::size_t runs = 0;
  const Json all = test::recorded("scores.json");
  for (const Json& run : all["runs"]) {
    if (run["data"] != data) continue;
    SCOPED_TRACE(run["name"].get<std::string>());
    compare_run(run, folder);
    ++runs;
  }
  EXPECT_GE(runs, least);
}

TEST(Scores, AreThoseOfTheHarnessForTheSameAnswersOnRealQuestions) {
  ORCH_NEEDS_TEST_DATA();
  compare("shared", test::imported_data(), 4);
}

TEST(Scores, AreThoseOfTheHarnessForTheSameAnswersOnRowsOfOtherTasks) { compare("rows", test::imported_rows(), 5); }

TEST(Scores, CountNormalisedLengthsInCharacters) {
  // -6 over 6 bytes that are 3 characters, against -5 over 4: by characters -2 and -1.25, by bytes -1 and -1.25.
  const std::vector<Likelihood> answers{{-6, false, 1}, {-5, false, 1}};
  const std::vector<std::string> choices{"äöü", "abcd"};
  const std::size_t first = 0;
  const ChoiceScores scores = choice_scores(answers, choices, {&first, 1});
  EXPECT_EQ(scores.acc, 0);
  EXPECT_EQ(scores.acc_norm, 0);
  EXPECT_EQ(scores.acc_bytes, 1);
}

TEST(Scores, OfManyAnswersAreTheChanceThatOneOfSoManyIsRight) {
  EXPECT_DOUBLE_EQ(pass_at_k(10, 3, 1), 0.3);
  EXPECT_NEAR(pass_at_k(10, 3, 2), 1 - 21.0 / 45, 1e-15);  // C(7,2) = 21, C(10,2) = 45
  EXPECT_EQ(pass_at_k(5, 4, 2), 1);
  EXPECT_EQ(pass_at_k(5, 0, 5), 0);
}

Task code_task() {
  Task task = test::shipped_task("humaneval");
  task.sampling.repeats = 4;
  task.metrics = {"pass_at_1", "pass_at_2"};
  return task;
}

TEST(Scores, OfMathCompareWhatAModelIsSureOfWithWhatIsInTheBox) {
  const Document document{
      {"subject", "algebra"}, {"problem", "p"}, {"solution", "First $\\boxed{1}$, then $x=\\boxed{\\frac32}$."}};
  AskSettings settings;
  settings.shots = 0;
  const auto evaluation = Evaluation::make(test::shipped_task("math"), {document}, {}, settings);
  ASSERT_TRUE(evaluation) << evaluation.error().what;
  const auto score = [&](const std::string& said) {
    return evaluation->score(0, {{{0, 0}, Generated{said, 1}}})->scores[0];
  };
  EXPECT_EQ(score("So.\nFinal Answer: The final answer is $\\frac{3}{2}$. I hope it is correct."), 1);
  EXPECT_EQ(score("Final Answer: The final answer is $x = 3/2$. I hope it is correct."), 1);  // by the authors' program
  EXPECT_EQ(score("Final Answer: The final answer is $\\frac{2}{3}$. I hope it is correct."), 0);
  EXPECT_EQ(score("\\frac{3}{2}"), 0);  // not where it is looked for
}

TEST(MathAnswers, OfASolutionWithoutABoxAreThatText) {
  EXPECT_TRUE(is_answer_of("\\frac{1}{2}", "0.5"));
  EXPECT_FALSE(is_answer_of("1", "2"));
}

TEST(Scores, ComeFromAScorerThatIsHandedIn) {
  const Scorers scorers{{"code", [](const ScorerInput& input) -> Result<double> {
                           EXPECT_EQ(input.target, "t\ncheck(f)");
                           EXPECT_EQ(std::get<Generation>(input.request.what).prompt, "def f():");
                           return input.answer == "right" ? 1.0 : 0.0;
                         }}};
  const auto evaluation =
      Evaluation::make(code_task(), {{{"prompt", "def f():"}, {"test", "t"}, {"entry_point", "f"}}}, {}, {}, scorers);
  std::vector<Answer> answers;
  for (const char* text : {"right", "wrong", "wrong", "wrong"})
    answers.push_back({{0, static_cast<std::uint32_t>(answers.size())}, Generated{text, 1}});
  const auto score = evaluation->score(0, answers);
  ASSERT_TRUE(score) << score.error().what;
  EXPECT_THAT(score->scores, testing::ElementsAre(0.25, 0.5));  // 1 - C(3,2)/C(4,2)
}

TEST(Scores, OfSeveralAnswersAreRefusedForFewer) {
  AskSettings settings;
  settings.repeats = 1;
  const auto evaluation = Evaluation::make(code_task(), {{{"prompt", "p"}}}, {}, settings, {{"code", {}}});
  ASSERT_FALSE(evaluation);
  EXPECT_THAT(evaluation.error().what, HasSubstr("'pass_at_2' needs 2 answers to each question, and 1 is asked for"));
}

TEST(Scores, NeedTheirScorer) {
  const auto evaluation = Evaluation::make(code_task(), {{{"prompt", "p"}}}, {}, {});
  ASSERT_FALSE(evaluation);
  EXPECT_THAT(evaluation.error().what, HasSubstr("scored by 'code', which is not to be had here"));
}

TEST(Scores, AreRefusedForAnswersThatAreNotTheQuestions) {
  const auto evaluation =
      Evaluation::make(test::shipped_task("boolq"), {{{"passage", "p"}, {"question", "q"}, {"label", 1}}}, {}, {});
  EXPECT_THAT(evaluation->score(0, {{{0, 0}, Likelihood{}}}).error().what,
              HasSubstr("2 answers of its own were expected, found 1"));
  EXPECT_FALSE(evaluation->score(1, {}));
  EXPECT_FALSE(evaluation->score(0, {{{0, 0}, Likelihood{}}, {{0, 1}, Generated{}}}));
}

TEST(Runs, AreKnownByTheirTaskTheirDataAndTheirSettings) {
  const std::vector<Document> documents{{{"passage", "p"}, {"question", "q"}, {"label", 1}}};
  const auto digest = [](const std::string& task, const std::vector<Document>& data, const AskSettings& settings) {
    return Evaluation::make(test::shipped_task(task), data, data, settings)->digest();
  };
  const std::string first = digest("boolq", documents, {});
  EXPECT_EQ(first, digest("boolq", documents, {}));
  AskSettings settings;
  settings.seed = 2;
  EXPECT_NE(first, digest("boolq", documents, settings));
  std::vector<Document> other = documents;
  other[0]["label"] = 0;
  EXPECT_NE(first, digest("boolq", other, {}));
  EXPECT_NE(first, digest("piqa", documents, {}));
}

TEST(Scores, AreOfEachSampleOnce) {
  const auto evaluation =
      Evaluation::make(test::shipped_task("boolq"), {{{"passage", "p"}, {"question", "q"}, {"label", 1}}}, {}, {});
  const auto score = evaluation->score(0, {{{0, 1}, Likelihood{-1, true, 1}}, {{0, 0}, Likelihood{-2, false, 1}}});
  ASSERT_TRUE(score) << score.error().what;
  EXPECT_EQ(score->scores[0], 1);
  const std::vector<SampleScore> twice{*score, *score};
  EXPECT_THAT(evaluation->summary(twice).error().what, HasSubstr("scored twice"));
  EXPECT_THAT(evaluation->summary({}).error().what, HasSubstr("question 1: it has no score yet"));
  EXPECT_TRUE(evaluation->summary({}, {0, 0}));
}

TEST(Scores, OfNumbersThatAreNoneAreAnError) {
  Task task = test::shipped_task("truthfulqa_mc");
  const Document document{{"question", "q"}, {"mc2_targets", {{"choices", {"a", "b"}}, {"labels", {1, 0}}}}};
  const auto evaluation = Evaluation::make(task, {document}, {}, {});
  ASSERT_TRUE(evaluation) << evaluation.error().what;
  const auto score =
      evaluation->score(0, {{{0, 0}, Likelihood{std::nan(""), true, 1}}, {{0, 1}, Likelihood{-2, false, 1}}});
  EXPECT_THAT(score.error().what, HasSubstr("question 1: the model's numbers for it are not finite"));
}

}  // namespace
}  // namespace orch::eval
