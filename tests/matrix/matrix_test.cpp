#include "matrix/matrix.h"

#include <gmock/gmock.h>

#include "matrix/command.h"
#include "matrix/stages.h"
#include "support/small_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::AllOf, ::testing::Contains, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty,
    ::testing::SizeIs, ::testing::StartsWith;

namespace {

const Catalog kCatalog = orch::test::small_catalog();

std::vector<std::string> problems(const std::string& text) { return orch::test::problems(text, kCatalog); }

Matrix good(const std::string& text) {
  Diagnostics diagnostics;
  auto matrix = orch::test::read(text, kCatalog, diagnostics);
  EXPECT_TRUE(matrix) << (diagnostics.ok() ? "" : diagnostics.errors().front().what);
  return matrix.value_or(Matrix());
}

std::vector<std::string> names(const std::vector<std::uint32_t>& picked) {
  std::vector<std::string> all;
  for (const std::uint32_t i : picked) all.push_back(kCatalog.models[i].name);
  return all;
}

/// The models that `selector` (YAML) picks.
std::vector<std::string> models(const std::string& selector) {
  return names(pick_models(good("name: m\nmodels: " + selector + "\ntasks: [mmlu]\n").stages.at(0).models, kCatalog));
}

std::vector<std::string> tasks(const std::string& selector) {
  const Matrix matrix = good("name: m\nmodels: all\ntasks: " + selector + "\n");
  std::vector<std::string> all;
  for (const std::uint32_t i : pick_tasks(matrix.stages.at(0).tasks, kCatalog)) all.push_back(kCatalog.tasks[i].name);
  return all;
}

constexpr auto kTrainAndEval = R"(
name: m
models: [llama31_8b]
stages:
  tune: {kind: train, tasks: [sft]}
  tuned: {tasks: [mmlu], adapter: tune}
)";

}  // namespace

TEST(Matrix, HasNoNameThatWouldBeTakenForANumber) {
  EXPECT_THAT(problems("name: s3\nmodels: [llama31_8b]\ntasks: [mmlu]\n"),
              ElementsAre(StartsWith("1:7: 's3' would be taken for the number of a sweep")));
}

TEST(Matrix, OfTheIssueReadsAsWritten) {
  const Matrix matrix = good(R"(
name: nightly-core
description: every night
models: [llama31_8b, "falcon*", {category: LARGE}, {family: falcon, max_params: 50B}]
tasks:  [mmlu, {name: gsm8k, shots: 5}, {category: CODE}]
exclude: [{model: falcon_40b, task: gsm8k}]
settings: {dtype: [bf16, fp8], seed: [0, 1]}
)");
  EXPECT_EQ(matrix.name, "nightly-core");
  ASSERT_THAT(matrix.stages, SizeIs(1));
  const Stage& stage = matrix.stages[0];
  EXPECT_EQ(stage.name, "main");
  EXPECT_EQ(stage.kind, CellKind::kEval);
  EXPECT_THAT(stage.models, SizeIs(4));
  EXPECT_EQ(stage.models[3].max_params, 50e9);
  EXPECT_EQ(stage.tasks[1].settings.at("shots"), std::vector<SettingValue>{std::int64_t{5}});
  EXPECT_THAT(stage.exclude, SizeIs(1));
  EXPECT_EQ(stage.settings.at("seed").size(), 2u);
  EXPECT_THAT(names(pick_models(stage.models, kCatalog)),
              ElementsAre("llama31_8b", "llama31_70b_fp8", "falcon_40b", "falcon_180b"));
}

TEST(Selectors, PickByNameGlobCategoryFamilyKindAndSize) {
  EXPECT_THAT(models("tinyllama"), ElementsAre("tinyllama"));
  EXPECT_THAT(models("'*'"), SizeIs(9));
  EXPECT_THAT(models("all"), SizeIs(9));
  EXPECT_THAT(models("['*llama*']"), ElementsAre("llama31_8b", "llama31_70b_fp8", "tinyllama"));
  EXPECT_THAT(models("[{category: LARGE}]"), ElementsAre("llama31_70b_fp8", "falcon_40b"));
  EXPECT_THAT(models("[{family: llama, name: '*8*'}]"), ElementsAre("llama31_8b", "llama31_70b_fp8"));
  EXPECT_THAT(models("[{kind: image}, {kind: vision_language}]"), ElementsAre("internvl2_76b", "flux_dev"));
}

TEST(Selectors, TakeBothEndsOfASizeRange) {
  EXPECT_THAT(models("[{min_params: 40B, max_params: 76B}]"),
              ElementsAre("llama31_70b_fp8", "falcon_40b", "internvl2_76b", "evo2_40b"));
  EXPECT_THAT(models("[{min_params: 40.1B, max_params: 75.9B}]"), ElementsAre("llama31_70b_fp8"));
}

TEST(Selectors, PickTasksByGroupKindAndCategory) {
  EXPECT_THAT(tasks("[{kind: eval}]"), ElementsAre("mmlu", "gsm8k", "mbpp", "bfcl", "docvqa", "books"));
  EXPECT_THAT(tasks("[{kind: multiple_choice}]"), ElementsAre("mmlu", "books"));
  EXPECT_THAT(tasks("[{group: coding}, {category: LARGE}]"), ElementsAre("mmlu", "gsm8k", "mbpp"));
  EXPECT_THAT(tasks("{task: gsm8k, shots: 0}"), ElementsAre("gsm8k"));
}

TEST(Selectors, SuggestTheNearestOfWhatTheyNameWrongly) {
  EXPECT_THAT(problems("name: m\nmodels: [lama31_8b]\ntasks: [mmlu]\n"),
              ElementsAre("2:10: no model 'lama31_8b'; did you mean 'llama31_8b'? (orchctl models lists all 9)"));
  EXPECT_THAT(problems("name: m\nmodels: [{family: falkon}]\ntasks: [{name: gsm8}]\n"),
              ElementsAre("2:19: no family 'falkon'; did you mean 'falcon'?",
                          HasSubstr("3:16: no task 'gsm8'; did you mean 'gsm8k'?")));
  EXPECT_THAT(
      problems("name: m\nmodels: [{category: LARG}]\ntasks: [{group: codin}]\n"),
      ElementsAre("2:21: no category 'LARG'; did you mean 'LARGE'?", "3:17: no group 'codin'; did you mean 'coding'?"));
}

TEST(Selectors, WithAMisspeltConditionAreToldTheNearestConditionOrSetting) {
  EXPECT_THAT(problems("name: m\nmodels: [{famly: llama}]\ntasks: [{name: mmlu, shot: 5}]\n"),
              ElementsAre("2:11: no condition or setting 'famly'; did you mean 'family'?",
                          "3:22: no condition or setting 'shot'; did you mean 'shots'?"));
}

TEST(Selectors, ThatPickNothingAreErrors) {
  EXPECT_THAT(problems("name: m\nmodels: ['mistral*']\ntasks: [mmlu]\n"),
              ElementsAre("2:10: no model matches 'mistral*'"));
  EXPECT_THAT(problems("name: m\nmodels: [{family: falcon, max_params: 7B}]\ntasks: [mmlu]\n"),
              ElementsAre("2:10: no model meets all of these conditions"));
  EXPECT_THAT(problems("name: m\nmodels: [{min_params: 7B, max_params: 1B}]\ntasks: [mmlu]\n"),
              ElementsAre(HasSubstr("min_params is above max_params")));
  EXPECT_THAT(problems("name: m\nmodels: []\ntasks: []\n"), SizeIs(2));
  EXPECT_THAT(problems("name: m\nmodels: [{}]\ntasks: [mmlu]\n"), ElementsAre(HasSubstr("an empty map picks nothing")));
}

TEST(Selectors, ThatNameOneThingTwiceAskForTheSameCellsTwice) {
  EXPECT_THAT(problems("name: m\nmodels: [tinyllama]\ntasks:\n  - mmlu\n  - {name: mmlu, shots: 5}\n"),
              ElementsAre(StartsWith("5:5: task 'mmlu' is named twice (first at line 4)")));
}

TEST(Matrix, ReportsAllErrorsAtOnceWithTheirPlaces) {
  // Lines:  1 name  2 modles  3 models  4 tasks  5 exclude  6 settings  7.. its keys
  const auto found = problems(R"(name: my matrix
modles: [x]
models: [llama31_8b, qwen, 7, [a]]
tasks: {name: mmlu, shots: 101}
exclude: [{model: gpt9}, 3, {}]
settings:
  dtype: []
  seed: [0, 0]
  rank: 8
  temperature: .nan
)");
  EXPECT_THAT(found, ElementsAre(StartsWith("1:7: 'name' must be a name of letters"),  //
                                 StartsWith("2:1: a matrix has no key 'modles'; did you mean 'models'?"),
                                 StartsWith("3:22: no model 'qwen'"),              //
                                 StartsWith("3:28: no model '7'"),                 //
                                 StartsWith("3:31: a model is picked by a name"),  //
                                 StartsWith("4:28: 'shots' must be a whole number from 0 to 100"),
                                 StartsWith("5:19: no model 'gpt9'"),                 //
                                 StartsWith("5:26: what is excluded must be a map"),  //
                                 StartsWith("5:29: what is excluded must be a map"),  //
                                 StartsWith("7:10: an empty axis makes no cells"),    //
                                 StartsWith("8:13: the value '0' stands twice in the axis 'seed'"),
                                 StartsWith("9:3: eval cells do not take the setting 'rank'; train cells do"),
                                 StartsWith("10:16: 'temperature' must be a number from 0 to 5")));
}

TEST(Matrix, NeedsANameModelsAndTasks) {
  EXPECT_THAT(problems("description: x\n"),
              ElementsAre("1:1: a matrix needs the key 'name'", "1:1: a matrix of kind eval needs the key 'models'",
                          "1:1: a matrix of kind eval needs the key 'tasks'"));
}

TEST(Matrix, ThatIsNoMapIsOneError) {
  EXPECT_THAT(problems("[1, 2]\n"), ElementsAre(HasSubstr("a matrix must be a map of keys")));
  EXPECT_THAT(problems("just text\n"), SizeIs(1));
}

TEST(Matrix, OfTheWrongShapeIsReportedWhereItIs) {
  EXPECT_THAT(
      problems("name: m\nkind: evil\nmodels: all\ntasks: all\n"),
      ElementsAre(
          "2:7: 'kind' must be one of eval, train, bench, command; found the text 'evil'; did you mean 'eval'?"));
  EXPECT_THAT(problems("name: m\nmodels: all\ntasks: all\nexclude: mmlu\nsettings: [1]\n"),
              ElementsAre(StartsWith("4:10: exclude must be a list"), StartsWith("5:11: settings must be a map")));
  EXPECT_THAT(problems("name: m\nmodels: all\ntasks: all\nadapter: x\n"),
              ElementsAre(HasSubstr("a matrix has no key 'adapter'"), HasSubstr("refers to another stage")));
}

TEST(Matrix, ForTasksOfAnotherKindSaysWhichKindIsMeant) {
  EXPECT_THAT(
      problems("name: m\nmodels: [tinyllama]\ntasks: [mmlu, sft]\n"),
      ElementsAre("3:15: task 'sft' is of kind train, which no eval cell can do; the kind of cell for it is train"));
  EXPECT_THAT(problems("name: m\nkind: train\nmodels: [tinyllama]\ntasks: [mmlu]\n"),
              ElementsAre(HasSubstr("which no train cell can do; the kind of cell for it is eval")));
}

TEST(Matrix, OfABenchmarkTakesNoModels) {
  EXPECT_THAT(problems("name: m\nkind: bench\nmodels: [tinyllama]\ntasks: [resnet50]\n"),
              ElementsAre("3:9: a benchmark needs no models: leave out 'models'"));
}

TEST(Matrix, ForTheEngineCommandNeedsTheCommand) {
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings:\n  engine: [native, command]\n"),
              ElementsAre(StartsWith("5:3: the engine command needs the key 'command'")));
  EXPECT_THAT(
      problems(
          "name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\ncommand: [run, '{model}']\nsettings: {engine: command}\n"),
      IsEmpty());
}

TEST(Matrix, TakesEpochsOrStepsButNotBoth) {
  EXPECT_THAT(problems("name: m\nkind: train\nmodels: [tinyllama]\ntasks: [sft]\nsettings: {epochs: 1, steps: 5}\n"),
              ElementsAre(StartsWith("5:11: 'epochs' and 'steps' both say how long training lasts")));
}

TEST(Categories, AreNamedOnceAndExist) {
  EXPECT_THAT(problems("name: m\ncategories: [LARGE, LARGE, HUGE]\n"),
              ElementsAre("2:21: category 'LARGE' is named twice", StartsWith("2:28: no category 'HUGE'")));
}

TEST(Categories, WithAWrongSettingAreReportedInTheirOwnFile) {
  Catalog catalog = orch::test::small_catalog();
  Category broken = *catalog.categories.find("CODE");
  Diagnostics diagnostics;
  broken.settings.emplace("dtyp", *parse_yaml("bf16", "c.yaml", diagnostics));
  broken.source.file = "c.yaml";
  catalog.categories.put(broken);
  check_category_settings(catalog, diagnostics);
  ASSERT_THAT(diagnostics.errors(), SizeIs(1));
  EXPECT_EQ(diagnostics.errors()[0].place.file, "c.yaml");
  EXPECT_THAT(diagnostics.errors()[0].what, HasSubstr("category 'CODE': no setting 'dtyp'; did you mean 'dtype'?"));
}

// --- Stages ---

TEST(Stages, InheritWhatStandsBesideThem) {
  const Matrix matrix = good(R"(
name: m
models: [llama31_8b, tinyllama]
settings: {seed: [0, 1], shots: 2}
exclude: [{model: tinyllama}]
stages:
  tune: {kind: train, models: [llama31_8b], tasks: [sft], settings: {rank: 8}}
  base: {tasks: [mmlu], settings: {seed: 7}, exclude: [{task: mmlu, seed: 1}]}
)");
  ASSERT_THAT(matrix.stages, SizeIs(2));
  const Stage& tune = matrix.stages[0];
  EXPECT_THAT(tune.models, SizeIs(1));
  EXPECT_FALSE(tune.settings.contains("shots")) << "no train cell takes it";
  EXPECT_EQ(tune.settings.at("seed").size(), 2u);
  EXPECT_EQ(tune.settings.at("rank").size(), 1u);
  const Stage& base = matrix.stages[1];
  EXPECT_THAT(base.models, SizeIs(2));
  EXPECT_EQ(base.settings.at("seed"), std::vector<SettingValue>{std::int64_t{7}});
  EXPECT_EQ(base.settings.at("shots").size(), 1u);
  EXPECT_THAT(base.exclude, SizeIs(2));
}

TEST(Stages, RefuseAnInheritedSettingThatNoneOfThemTakes) {
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\nsettings: {gpus: 4}\nstages:\n  a: {tasks: [mmlu]}\n  b: {kind: "
                       "train, tasks: [sft]}\n"),
              ElementsAre("3:12: eval and train cells do not take the setting 'gpus'; bench and command cells do"));
}

TEST(Stages, ReportAnInheritedErrorOnce) {
  EXPECT_THAT(problems("name: m\nmodels: [nobody]\nstages:\n  a: {tasks: [mmlu]}\n  b: {tasks: [gsm8k]}\n"),
              ElementsAre(StartsWith("2:10: no model 'nobody'")));
}

TEST(Stages, MayUseTheAdaptersOfATrainStageOnly) {
  EXPECT_EQ(good(kTrainAndEval).stages[1].adapter_of, "tune");
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nstages:\n  a: {}\n  b: {adapter: a}\n"),
              ElementsAre(HasSubstr("6:16: stage 'a' is of kind eval and makes no adapter")));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\nstages:\n  tune: {kind: train, tasks: [sft]}\n  b: {tasks: "
                       "[mmlu], adapter: tun}\n"),
              ElementsAre("5:31: no stage 'tun'; did you mean 'tune'?; the stages are tune, b"));
  EXPECT_THAT(
      problems(
          "name: m\nmodels: [llama31_8b]\ntasks: [sft]\nstages:\n  a: {kind: train}\n  b: {kind: train, adapter: a}\n"),
      ElementsAre(HasSubstr("only eval and command stages take an adapter")));
}

TEST(Stages, ThatWaitInACycleAreNamedInItsOrder) {
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nstages:\n  a: {after: [c]}\n  b: {after: a}\n  "
                       "c: {after: [b]}\n  d: {after: [a]}\n"),
              ElementsAre("6:14: a cycle, in which no stage could start: a → c → b → a"));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nstages:\n  a: {after: [a]}\n"),
              ElementsAre("5:14: a cycle, in which no stage could start: a → a"));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\nstages:\n  t: {kind: train, tasks: [sft], after: [e]}\n  e: "
                       "{tasks: [mmlu], adapter: t}\n"),
              ElementsAre("5:31: a cycle, in which no stage could start: t → e → t"));
}

TEST(Stages, AreOrderedByWhatTheyWaitForElseAsInTheFile) {
  const Matrix matrix = good(
      "name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nstages:\n  a: {after: [c]}\n  b: {}\n  c: {after: [b]}\n  d: "
      "{}\n");
  EXPECT_THAT(stage_order(matrix.stages), ElementsAre(1, 2, 0, 3));
}

TEST(Stages, MustBeAMapWithSomething) {
  EXPECT_THAT(problems("name: m\nstages: {}\n"), ElementsAre(HasSubstr("found an empty map")));
  EXPECT_THAT(problems("name: m\nstages: [a]\n"), ElementsAre(StartsWith("2:9: stages must be a map")));
  EXPECT_THAT(problems("name: m\nstages: {a: 1}\n"), ElementsAre(HasSubstr("a stage must be a map of keys")));
  EXPECT_THAT(problems("name: m\nmodels: all\ntasks: all\nstages: {a: {task: [mmlu]}}\n"),
              ElementsAre(HasSubstr("a stage has no key 'task'; did you mean 'tasks'?")));
}

TEST(Stages, CannotMultiplyALargeListWithoutBound) {
  std::string seeds = "0";
  for (int i = 1; i < 20'000; ++i) seeds += "," + std::to_string(i);
  std::string text = "name: m\nmodels: [tinyllama]\ntasks: [mmlu]\nsettings: {seed: [" + seeds + "]}\nstages:\n";
  for (int i = 0; i < 100; ++i) text += "  s" + std::to_string(i) + ": {}\n";
  EXPECT_THAT(problems(text), ElementsAre(StartsWith("4:11: the stages have more than 1,000,000 values together")));
  text += "  one_more: {}\n";
  EXPECT_THAT(problems(text), ElementsAre(HasSubstr("at most 100 stages, found 101")));
}

// --- Commands ---

TEST(Commands, KnowTheirPlaceholders) {
  EXPECT_THAT(problems("name: m\nkind: command\nmodels: [flux_dev]\ncommand: [run, '{hf_id}', '{sed}']\n"),
              ElementsAre("4:27: no placeholder {sed}; did you mean {seed}?"));
  EXPECT_THAT(
      problems("name: m\nkind: command\ncommand: [run, '{model}', '{task}', '{adapter}', '{dtype}', '{output}']\n"),
      ElementsAre(HasSubstr("3:16: {model} stands for nothing: the stage picks no models"),
                  HasSubstr("{task} stands for nothing: the stage picks no tasks"),
                  HasSubstr("{adapter} stands for nothing"), HasSubstr("{dtype} stands for nothing")));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: [run, '{settings.container}', '{settings.rank}']\n"),
              ElementsAre(HasSubstr("the stage does not set 'container'"), HasSubstr("the stage does not set 'rank'")));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: [run, '{settings.nodes}', '{seed}', '{output}']\nsettings: "
                       "{nodes: [1, 2]}\n"),
              IsEmpty());
}

TEST(Commands, AreListsOfWords) {
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: python x.py\n"),
              ElementsAre(StartsWith("3:10: command must be a list of words")));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: []\n"), SizeIs(1));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: ['', a]\n"),
              ElementsAre(HasSubstr("the first word of the command is the program")));
  EXPECT_THAT(problems("name: m\nkind: command\n"), ElementsAre(HasSubstr("needs the key 'command'")));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: [a, [b]]\n"), SizeIs(1));
  EXPECT_EQ(good("name: m\nkind: command\ncommand: [a, 5, \"x y; $(z)\\n'\"]\n").stages[0].command,
            (std::vector<std::string>{"a", "5", "x y; $(z)\n'"}));
}

TEST(Commands, FillEachPlaceholderOnceAndLeaveValuesAlone) {
  const auto filled = fill_command(std::vector<std::string>{"{model}", "a{seed}b{seed}", "{{model}}", "plain"},
                                   {{"model", "{seed} $(x) '"}, {"seed", "7"}});
  ASSERT_TRUE(filled);
  EXPECT_THAT(*filled, ElementsAre("{seed} $(x) '", "a7b7", "{model}", "plain"));
}

TEST(Commands, WithALoneBraceAreErrors) {
  EXPECT_FALSE(parse_argument("a{b"));
  EXPECT_FALSE(parse_argument("a}b"));
  EXPECT_FALSE(parse_argument("{a}}"));
  EXPECT_TRUE(parse_argument("{{}}"));
  EXPECT_FALSE(fill_command(std::vector<std::string>{"{nobody}"}, {}));
}

// --- Hostile files ---

TEST(Matrix, WithAnyByteMissingOrChangedGivesAMatrixOrErrors) {
  const std::string text = R"(name: m
models: [llama31_8b, "f*", {family: falcon, max_params: 50B, seed: [0, 1]}]
settings: {dtype: [bf16, fp8], prefix: "a {x}"}
exclude: [{model: llama31_8b, task: gsm8k, seed: 1}]
stages:
  t: {kind: train, tasks: [sft], settings: {rank: 8, learning_rate: 1e-4}}
  e: {tasks: [mmlu, {name: gsm8k, shots: 5}], adapter: t, after: [t]}
  c: {kind: command, command: [run, "{model}", "{settings.seed}"], settings: {time: 1h, gpu_memory: 20GiB}}
submit: {partition: gpu}
)";
  const auto check = [&](const std::string& changed) {
    Diagnostics diagnostics;
    const auto matrix = orch::test::read(changed, kCatalog, diagnostics);
    ASSERT_EQ(matrix.has_value(), diagnostics.ok()) << changed;
    if (matrix) ASSERT_EQ(expand(*matrix, kCatalog, {}, diagnostics).has_value(), diagnostics.ok()) << changed;
  };
  check(text);
  for (std::size_t at = 0; at < text.size(); ++at) {
    check(text.substr(0, at));
    for (const char byte : {'\0', '[', '}', ':', '*', '9', '-', '\n', '\xff'}) {
      std::string changed = text;
      changed[at] = byte;
      check(changed);
    }
  }
}

TEST(Matrix, KeepsGpusTimeAndMemoryToProgramsAndBenchmarks) {
  const std::string base = "name: m\nmodels: [llama31_8b]\n";
  for (const char* said : {"gpus: 2", "time: 2h", "gpu_memory: 20GiB"})
    for (const char* kind : {"eval\ntasks: [mmlu]", "train\ntasks: [sft]"})
      EXPECT_THAT(problems(base + "kind: " + kind + "\nsettings: {" + said + "}\n"),
                  ElementsAre(HasSubstr("cells do not take the setting")))
          << said << " " << kind;
  const std::string bench = "name: m\nkind: bench\ntasks: [resnet50]\n";
  EXPECT_THAT(problems(bench + "settings: {gpus: 2}\n"), IsEmpty());
  EXPECT_THAT(problems(bench + "settings: {time: 2h}\n"), ElementsAre(HasSubstr("command cells do")));
  EXPECT_THAT(problems(base + "kind: command\ncommand: [run]\nsettings: {gpus: 2, time: 2h, gpu_memory: 20GiB}\n"),
              IsEmpty());
}

// --- How lm-evaluation-harness is run ---

TEST(Harness, IsReadWholeWithWhatIsWrongInIt) {
  const auto said = [](const std::string& lm_eval, const std::string& more = "settings: {engine: lm-eval}") {
    return problems("name: m\nmodels: [old_fp32]\ntasks: [mmlu]\n" + more + "\nlm_eval: " + lm_eval + "\n");
  };
  const auto one = [](const std::string& what) { return ElementsAre(HasSubstr(what)); };
  EXPECT_THAT(said("[--log_samples]"), one("5:10: an 'lm_eval' map must be a map"));
  EXPECT_THAT(said("{argument: [-s]}"), one("'argument'"));
  EXPECT_THAT(said("{run: lm_eval}"), one("5:16: 'run' must be a list of 1 to 200 words"));
  EXPECT_THAT(said("{run: []}"), one("'run' must be a list of 1 to 200 words"));
  EXPECT_THAT(said("{run: ['']}"), one("a word of 'run' must be"));
  EXPECT_THAT(said("{run: [venv/bin/lm_eval]}"), one("named from a folder"));
  EXPECT_THAT(said("{run: [~/venv/bin/lm_eval]}"), one("(no shell fills in ~)"));
  EXPECT_THAT(said("{include_path: tasks}"), one("5:25: 'include_path' must be the whole path"));
  EXPECT_THAT(said("{include_path: [/t]}"), one("'include_path' must be the whole path"));
  EXPECT_THAT(said("{model_args: trust_remote_code=True}"), one("'model_args' must be a map"));
  EXPECT_THAT(said("{model_args: {dtype: float16}}"), one("5:24: 'dtype' of the model is made of the cell"));
  EXPECT_THAT(said("{model_args: {a: 'b,pretrained=c'}}"), one("without commas, quotes and brackets"));
  EXPECT_THAT(said("{model_args: {'a=b': c}}"), one("has a name of letters"));
  EXPECT_THAT(said("{env: {1A: b}}"), SizeIs(1));
  EXPECT_THAT(said("{env: [A]}"), one("'env' must be a map"));
  EXPECT_THAT(said("{arguments: [--log_samples, --device, cpu]}"), IsEmpty());
}

TEST(Harness, IsNotToldASecondTimeWhatTheCellSays) {
  const auto said = [](const std::string& word) {
    return problems("name: m\nmodels: [old_fp32]\ntasks: [mmlu]\nlm_eval: {arguments: [\"" + word + "\"]}\n");
  };
  for (const char* word :
       {"--tasks", "-t", "--limit=5", "-L", "-L5", "--num_fewshot", "--num_few", "--model", "--output_path", "-o",
        "--batch_size", "--seed", "--gen_kwargs", "--include_path", "--system_instruction=x"})
    EXPECT_THAT(said(word), ElementsAre(HasSubstr("is not for 'arguments'"))) << word;
  EXPECT_THAT(said("--limit=5"), ElementsAre(HasSubstr("--limit is said by the setting 'limit'")));
  EXPECT_THAT(said("--confirm_run_unsafe_code"), ElementsAre(HasSubstr("the setting 'run_unsafe_code'")));
  for (const char* word :
       {"--log_samples", "--device", "cpu", "--use_cache", "-s", "--", "-", "5", "--trust_remote_code"})
    EXPECT_THAT(said(word), IsEmpty()) << word;
}

TEST(Harness, ThatNoCellWouldRunOnIsAnError) {
  const std::string base = "name: m\nmodels: [llama31_8b]\n";
  EXPECT_THAT(problems(base + "tasks: [mmlu]\nlm_eval: {arguments: [-s]}\n"),
              ElementsAre("4:10: 'lm_eval' would be of no use: the cells beside it run on the engine native; say "
                          "`engine: lm-eval` in their settings, or leave it out"));
  EXPECT_THAT(problems(base + "kind: train\ntasks: [sft]\nlm_eval: {arguments: [-s]}\n"),
              ElementsAre(HasSubstr("only eval cells run on lm-evaluation-harness, and these are of kind train")));
  EXPECT_THAT(problems(base + "lm_eval: {arguments: [-s]}\nstages:\n  a: {kind: train, tasks: [sft]}\n"
                              "  b: {adapter: a, tasks: [mmlu], settings: {engine: lm-eval}}\n  c: {tasks: [mmlu]}\n"),
              IsEmpty())
      << "one of the stages that inherit it runs on it";
}

TEST(Command, OfWhichTheProgramIsNamedFromAFolderIsRefused) {
  const auto run = [](const std::string& word) {
    return problems("name: m\nkind: command\nmodels: [llama31_8b]\ncommand: [" + word + ", 'x/y', '{model}']\n");
  };
  for (const char* word : {"./eval.py", "bin/eval", "../eval.py"})
    EXPECT_THAT(run(word), ElementsAre("4:11: the program '" + std::string(word) +
                                       "' is named from a folder, and every cell runs in a folder of its own: give its "
                                       "whole path, or a name that is in the PATH of the jobs"))
        << word;
  EXPECT_THAT(run("~/eval.py"), ElementsAre(HasSubstr("(no shell fills in ~)")));
  for (const char* word : {"/home/me/eval.py", "eval.py", "'{model}/run'"}) EXPECT_THAT(run(word), IsEmpty()) << word;
}
