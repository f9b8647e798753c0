#include "eval/task.h"

#include <gmock/gmock.h>

#include "base/catalog.h"
#include "eval/evaluation.h"
#include "import.h"

namespace orch::eval {
namespace {

using testing::HasSubstr;

std::vector<std::string> problems(const std::string& text) {
  Diagnostics diagnostics;
  if (const auto root = parse_yaml(text, "t.yaml", diagnostics)) read_task(*root, "t.yaml", {}, diagnostics);
  std::vector<std::string> lines;
  for (const Problem& problem : diagnostics.errors())
    lines.push_back(std::to_string(problem.place.line) + ":" + std::to_string(problem.place.column) + ": " +
                    problem.what);
  return lines;
}

const std::string kChoice =
    "task: t\nkind: choice\ndata: t.jsonl\nprompt: q\nchoices: [a, b]\ntarget: 0\nmetrics: [acc]\n";
const std::string kGenerate =
    "task: t\nkind: generate\ndata: t.jsonl\nprompt: q\ntarget: a\ngeneration: {stop: x}\nmetrics: [exact_match]\n";

struct Wrong {
  std::string text;
  std::string what;
};

TEST(TaskFiles, AreCheckedWholeAndSayWhereAndWhat) {
  EXPECT_TRUE(problems(kChoice).empty());
  EXPECT_TRUE(problems(kGenerate).empty());
  const std::vector<Wrong> all{
      {kChoice + "promt: x\n", "8:1: a task file has no key 'promt'"},
      {kChoice + "status: verifed\n", "did you mean 'verified'?"},
      {kChoice + "description: '{{ a '\n", "8:14: the template 'description' cannot be read (line 1, column "},
      {kChoice + "gen_prefix: [x]\n",
       "8:13: 'gen_prefix' must be a template, the name of a field or a number; found a list"},
      {kChoice + "shots: {count: 3}\n", "worked examples need 'from' (a file of the data) or 'examples'"},
      {kChoice + "shots: {count: 101, from: a}\n", "'count' must be"},
      {kChoice + "shots: {count: 1, from: ../a}\n", "'from' must be a relative path without '..'"},
      {kChoice + "shots: {count: 1, from: /etc/passwd}\n", "'from' must be a relative path without '..'"},
      {kChoice + "shots: {count: 1, from: a, examples: [{q: 1}]}\n", "not both"},
      {kChoice + "shots: {count: 1, examples: [1]}\n", "a worked example must be a map of fields, found the number 1"},
      {kChoice + "shots: {count: 1, examples: none.jsonl}\n", "no such file"},
      {kChoice + "generation: {stop: x}\n", "has no key 'generation'"},
      {kGenerate + "extract: {a: [strp]}\n", "no step of extraction is called 'strp'; did you mean 'strip'?"},
      {kGenerate + "extract: {a: [{regex: '('}]}\n", "the pattern '(' cannot be read"},
      {kGenerate + "extract: {a: [{which: 1}]}\n", "needs the key 'regex'"},
      {kGenerate + "extract: []\n", "'extract' must be a map from names to lists of steps"},
      {kGenerate + "scorer: {exact_match: {ignore: ['[']}}\n", "the pattern '[' cannot be read"},
      {kGenerate + "right: 0\n", "has no key 'right'"},
      {"task: t\nkind: choice\ndata: d\nprompt: q\nchoices: []\ntarget: 0\nmetrics: [acc]\n",
       "'choices' is an empty list"},
      {"task: t\nkind: choice\ndata: d\nprompt: q\nchoices: [a]\ntarget: 0\nmetrics: [accc]\n",
       "choices are not scored by 'accc'; did you mean 'acc'?"},
      {"task: t\nkind: choice\ndata: d\nprompt: q\nchoices: [a]\ntarget: 0\nmetrics: [mc2]\n",
       "'mc2' needs the key 'labels'"},
      {"task: t\nkind: generate\ndata: d\nprompt: q\ntarget: a\ngeneration: {repeats: 4}\nmetrics: [pass_at_5]\n",
       "'pass_at_5' needs 'repeats' of at least 5"},
      {"task: t\nkind: generate\ndata: d\nprompt: q\ntarget: a\ngeneration: {stop: ['']}\nmetrics: [m]\n",
       "a stop string is empty"},
      {"task: t\nkind: generate\ndata: d\nprompt: q\ntarget: a\ngeneration: {}\nmetrics: [m, n]\n",
       "one scorer gives one metric"},
      {"task: t\nkind: choise\n", "did you mean 'choice'?"},
      {"task: t\nkind: contexts\ndata: d\nchoices: c\ntarget: a\nmetrics: [acc]\n", "needs the key 'right'"},
      {"- 1\n", "a task file must be a map of keys, found a list"},
  };
  for (const Wrong& wrong : all)
    EXPECT_THAT(problems(wrong.text), testing::Contains(HasSubstr(wrong.what))) << wrong.text;
}

TEST(TaskFiles, TakeATextThatNamesAFieldForThatField) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(kGenerate, "t.yaml", diagnostics);
  const auto task = read_task(*root, "t.yaml", {}, diagnostics);
  const auto questions = Questions::make(*task, {{{"q", "Why?"}, {"a", "So."}}}, {}, {});
  const auto requests = questions->requests(0);
  EXPECT_EQ(std::get<Generation>((*requests)[0].what).prompt, "Why?");
}

TEST(TaskFiles, HaveADigestThatChangesWithThemAndWithTheirExamples) {
  test::TemporaryFolder folder;
  const auto digest = [&] {
    Diagnostics diagnostics;
    return load_task(folder / "t.yaml", diagnostics)->digest;
  };
  std::ofstream(folder / "t.yaml") << kChoice << "shots: {count: 1, examples: e.jsonl}\n";
  std::ofstream(folder / "e.jsonl") << "{\"q\": \"1\"}\n";
  const std::string first = digest();
  EXPECT_EQ(first, digest());
  std::ofstream(folder / "e.jsonl") << "{\"q\": \"2\"}\n";
  const std::string second = digest();
  EXPECT_NE(first, second);
  std::ofstream(folder / "t.yaml", std::ios::app) << "# a word\n";
  EXPECT_NE(second, digest());
}

TEST(ShippedTasks, AreTheTasksOfTheCatalogWithItsMetricsAndShots) {
  Diagnostics diagnostics;
  const std::vector<std::filesystem::path> sources{test::source_dir() / "db/catalog"};
  const Catalog catalog = load_catalog(sources, diagnostics);
  ASSERT_TRUE(diagnostics.ok());
  std::size_t found = 0;
  for (const orch::Task& listed : catalog.tasks.all()) {
    if (!listed.is_eval()) continue;
    SCOPED_TRACE(listed.name);
    ++found;
    const Task task = test::shipped_task(listed.name);
    EXPECT_EQ(task.name, listed.name);
    EXPECT_EQ(task.metrics[0], listed.metric);
    EXPECT_EQ(task.shots.count, listed.shots);
    EXPECT_EQ(task.kind == Kind::kGenerate, listed.kind != TaskKind::kMultipleChoice);
  }
  EXPECT_EQ(found, 22u);
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() / "db/tasks"))
    if (entry.path().extension() == ".yaml") EXPECT_TRUE(catalog.tasks.find(entry.path().stem())) << entry.path();
}

TEST(Documents, SayInWhichLineTheyAreWrong) {
  EXPECT_THAT(parse_documents("{\"a\": 1}\n\n{\"a\": }\n", "d.jsonl").error().what,
              HasSubstr("d.jsonl:3: expected one JSON object in this line"));
  EXPECT_THAT(parse_documents("[1]\n", "d.jsonl").error().what,
              HasSubstr("d.jsonl:1: expected an object, found a JSON array"));
  EXPECT_FALSE(parse_documents("{\"a\": " + std::string(100, '[') + std::string(100, ']') + "}", "d.jsonl"));
  EXPECT_EQ(parse_documents("{\"a\": 1}\r\n{}", "d.jsonl")->size(), 2u);
}

TEST(Data, ThatIsMissingSaysHowToGetIt) {
  test::TemporaryFolder folder;
  const auto evaluation = Evaluation::open(test::shipped_task("boolq"), folder.path(), {});
  ASSERT_FALSE(evaluation);
  EXPECT_THAT(evaluation.error().what, HasSubstr("boolq/validation.jsonl (scripts/import-data boolq makes it)"));
}

}  // namespace
}  // namespace orch::eval
