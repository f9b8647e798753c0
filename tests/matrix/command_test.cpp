// Commands as maps: what stands beside `run`, variables, settings and names of one's own.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "matrix/command.h"
#include "matrix/expand.h"
#include "matrix/own_names.h"
#include "support/small_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::AllOf, ::testing::Contains, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty,
    ::testing::IsSupersetOf, ::testing::Not, ::testing::Pair, ::testing::SizeIs, ::testing::StartsWith,
    ::testing::UnorderedElementsAre;

namespace {

const Catalog kCatalog = orch::test::small_catalog();
const std::string kProgram = "name: m\nkind: command\n";

/// A matrix with the catalog that it is expanded with.
struct Made {
  std::vector<std::string> problems, warnings;
  std::optional<Matrix> matrix;
  Catalog catalog;
  std::optional<Expansion> expansion;
};

Made make(const std::string& text, const Catalog& catalog = kCatalog) {
  Made made;
  Diagnostics diagnostics;
  made.matrix = orch::test::read(text, catalog, diagnostics);
  if (made.matrix) {
    made.catalog = with_own_names(*made.matrix, catalog);
    ExpandOptions options;
    options.keep_content = true;
    made.expansion = expand(*made.matrix, made.catalog, options, diagnostics);
  }
  const auto line = [](const Problem& problem) {
    return std::to_string(problem.place.line) + ":" + std::to_string(problem.place.column) + ": " + problem.what;
  };
  for (const Problem& problem : diagnostics.errors()) made.problems.push_back(line(problem));
  for (const Problem& problem : diagnostics.warnings()) made.warnings.push_back(line(problem));
  return made;
}

std::vector<std::string> problems(const std::string& text) { return make(text).problems; }

std::set<std::string> keys(const std::string& text, const Catalog& catalog = kCatalog) {
  const Made made = make(text, catalog);
  EXPECT_THAT(made.problems, IsEmpty()) << text;
  std::set<std::string> all;
  if (made.expansion)
    for (const Cell& cell : made.expansion->cells) all.insert(to_hex(cell.key));
  return all;
}

/// The settings of the only cell.
Settings settings(const std::string& text) {
  const Made made = make(text);
  EXPECT_THAT(made.problems, IsEmpty()) << text;
  if (!made.expansion || made.expansion->cells.size() != 1) return {};
  return made.expansion->settings[made.expansion->cells[0].settings];
}

/// `a x seed=0 …` of each cell.
std::vector<std::string> labels(const Made& made) {
  std::vector<std::string> lines;
  if (!made.expansion) return made.problems;
  for (const Cell& cell : made.expansion->cells)
    lines.push_back((cell.model == kNone ? "-" : made.catalog.models[cell.model].name) + " " +
                    (cell.task == kNone ? "-" : made.catalog.tasks[cell.task].name) + " " +
                    to_string(made.expansion->settings[cell.settings]));
  return lines;
}

const char* const kIssue = R"(
name: my-evals
kind: command
models: [a, b]
tasks: [x, y]
settings: {seed: [0, 1]}
command:
  run: [python3, eval.py, --model, "{model}", --task, "{task}", --seed, "{seed}", --out, "{out}"]
  gpus: 1
  time: 10m
  memory: 4G
  cpus: 2
  env: {HF_HOME: /shared/hf}
  container: docker://example.org/evals:1
)";

}  // namespace

// --- The map ---

TEST(CommandMap, OfTheIssueReadsAsWritten) {
  const Made made = make(kIssue);
  ASSERT_THAT(made.problems, IsEmpty());
  const Stage& stage = made.matrix->stages[0];
  EXPECT_THAT(stage.command, ElementsAre("python3", "eval.py", "--model", "{model}", "--task", "{task}", "--seed",
                                         "{seed}", "--out", "{out}"));
  EXPECT_THAT(stage.env, ElementsAre(Pair("HF_HOME", "/shared/hf")));
  EXPECT_THAT(made.expansion->cells, SizeIs(8));
  const Settings& of_first = made.expansion->settings[made.expansion->cells[0].settings];
  EXPECT_EQ(of_first.integer("gpus"), 1);
  EXPECT_EQ(of_first.integer("time"), 600);
  EXPECT_EQ(of_first.integer("memory"), std::int64_t{4} << 30);
  EXPECT_EQ(of_first.integer("cpus"), 2);
  EXPECT_EQ(of_first.text("container"), "docker://example.org/evals:1");
}

TEST(CommandMap, AndListOfTheSameWordsGiveOneKey) {
  const auto as_list = keys(kProgram + "command: [run, '{seed}']\nsettings: {seed: [0, 1], container: img}\n");
  EXPECT_EQ(as_list, keys(kProgram + "command: {run: [run, '{seed}'], container: img}\nsettings: {seed: [0, 1]}\n"));
  EXPECT_EQ(as_list, keys("command: {container: img, cpus: 7, memory: 1GiB, time: 1h, gpus: 3, run: [run, '{seed}']}\n"
                          "settings: {seed: [1, 0]}\nkind: command\nname: another\n"))
      << "neither the order of keys nor what a cell takes of a node is content";
  EXPECT_THAT(as_list, SizeIs(2));
}

TEST(CommandMap, HoldsItsVariablesInTheKey) {
  const std::string plain = kProgram + "command: {run: [run]}\n";
  std::set<std::string> all = keys(plain);
  for (const char* env : {"{A: 1}", "{A: 2}", "{B: 1}", "{A: 1, B: 1}", "{A: '{seed}'}"})
    all.merge(keys(kProgram + "command: {run: [run], env: " + env + "}\n"));
  EXPECT_THAT(all, SizeIs(6));
  EXPECT_EQ(keys(kProgram + "command: {run: [run], env: {}}\n"), keys(plain));
  EXPECT_EQ(keys(kProgram + "command: {run: [run], env: {A: 1, B: x}}\n"),
            keys(kProgram + "command: {env: {B: x, A: 1}, run: [run]}\n"));
}

TEST(CommandMap, IsTheContentThatIsWrittenByHand) {
  const Made made = make(
      "name: m\nkind: command\nmodels: [a]\ntasks: [x]\nsettings: {style: long, seed: 3}\n"
      "command: {run: [p, '{model}', '{task}', '{style}', '{seed}'], gpus: 0, env: {K: v}}\n");
  ASSERT_THAT(made.problems, IsEmpty());
  EXPECT_EQ(made.expansion->content.at(0),
            R"({"command":["p","{model}","{task}","{style}","{seed}"],)"
            R"("engine":{"name":"command","numerics":1},"env":{"K":"v"},"kind":"command","model":{"name":"a"},)"
            R"("settings":{"seed":3,"style":"long"},"task":{"name":"x"},"version":1})");
  EXPECT_EQ(canonical_content(*made.expansion, made.expansion->cells[0], made.catalog), made.expansion->content.at(0));
}

TEST(CommandMap, SaysASettingOnlyWhereTheSettingsDoNot) {
  EXPECT_THAT(problems(kProgram + "settings: {gpus: 1, time: 1h}\ncommand: {run: [p], gpus: 1, cpus: 2}\n"),
              ElementsAre("3:18: 'gpus' is said twice, here and beside 'run' in the command (line 4): say it in one "
                          "place"));
  const std::string outer = "name: m\nkind: command\ncommand: {run: [p, '{gpus}'], gpus: 2}\n";
  EXPECT_THAT(problems(outer + "settings: {gpus: 1}\nstages:\n  a: {}\n"), ElementsAre(StartsWith("4:18: ")));
  EXPECT_EQ(settings(outer + "stages:\n  a: {settings: {gpus: 4}}\n").integer("gpus"), 4)
      << "what a stage says wins over what it inherits";
  EXPECT_EQ(settings("name: m\nkind: command\nsettings: {gpus: 4}\nstages:\n  a: {command: {run: [p], gpus: 8}}\n")
                .integer("gpus"),
            8);
  EXPECT_EQ(settings(outer + "stages:\n  a: {}\n").integer("gpus"), 2);
  EXPECT_EQ(settings(outer + "stages:\n  a: {command: [q]}\n").integer("gpus"), 1)
      << "what stands beside another stage's program goes with it";
}

TEST(CommandMap, IsCheckedWhole) {
  EXPECT_THAT(problems(kProgram + "command: {gpus: 1}\n"), ElementsAre(HasSubstr("'run'")));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], gpu: 1}\n"), ElementsAre(HasSubstr("did you mean 'gpus'?")));
  EXPECT_THAT(problems(kProgram + "command: {run: p}\n"), ElementsAre(HasSubstr("must be a list of words")));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], gpus: 1.5, time: 10, memory: x, cpus: 0}\n"),
              ElementsAre(HasSubstr("a fraction between 0 and 1"), HasSubstr("a duration with its unit"),
                          HasSubstr("an amount of memory"), HasSubstr("a whole number from 1")));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], gpus: [1, 2]}\n"), ElementsAre(HasSubstr("found a list")));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {engine: command}\n"
                       "command: {run: [p], gpus: 2}\n"),
              ElementsAre(HasSubstr("'gpus' is for cells of kind command")));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {engine: command}\n"
                       "command: {run: [p, '{shots}', '{settings.dtype}'], env: {A: '{seed}'}}\n"),
              IsEmpty());
}

TEST(CommandMap, TakesVariablesAsSubmitDoes) {
  EXPECT_THAT(
      problems(kProgram + "command: {run: [p], env: {1a: x, SLURM_JOB_ID: 1, B: [1], C: \"a\\nb\", D: '{', E: }}\n"),
      ElementsAre(HasSubstr("begins with no digit"), HasSubstr("'SLURM_JOB_ID' cannot be set"),
                  HasSubstr("must be a text of one line"), HasSubstr("must be a text of one line"),
                  HasSubstr("a single '{'")));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], env: {A: '{sed}'}}\n"), ElementsAre(HasSubstr("{seed}?")));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], env: [A]}\n"), ElementsAre(HasSubstr("must be a map")));
}

TEST(CommandMap, TellsThatMemoryHasAnotherNameNow) {
  const auto renamed = AllOf(HasSubstr("'gpu_memory'"), HasSubstr("beside the program"));
  EXPECT_THAT(problems(kProgram + "command: [p]\nsettings: {memory: 20GiB}\n"), ElementsAre(renamed));
  EXPECT_THAT(problems(kProgram + "models: [{name: flux_dev, memory: 20GiB}]\ncommand: [p]\n"), ElementsAre(renamed));
  EXPECT_EQ(settings(kProgram + "command: {run: [p, '{memory}'], memory: 1M}\n").integer("memory"), 1 << 20);
}

TEST(CommandMap, CannotMakeAnAxisOfWhatACellTakes) {
  EXPECT_THAT(problems(kProgram + "command: [p]\nsettings: {gpus: [1, 2]}\n"),
              ElementsAre(HasSubstr("'gpus' says how a cell is run, not what it measures")));
}

TEST(CommandMap, KeepsPartsOfAGpuAndNoneToOneNode) {
  for (const char* gpus : {"0", "0.5"}) {
    const Made made = make(kProgram + "command: [p]\nsettings: {nodes: 2, gpus: " + gpus + "}\n");
    ASSERT_TRUE(made.expansion);
    EXPECT_THAT(made.expansion->cells, IsEmpty());
    ASSERT_THAT(made.expansion->rejected, SizeIs(1));
    EXPECT_THAT(made.expansion->rejected[0].reason, HasSubstr("is on one node"));
  }
}

TEST(Benchmarks, HaveWholeGpusAndOneAtLeast) {
  for (const char* gpus : {"0", "0.5", "[1, 0.5]"}) {
    EXPECT_THAT(problems("name: m\nkind: bench\ntasks: [resnet50]\nsettings: {gpus: " + std::string(gpus) + "}\n"),
                ElementsAre(HasSubstr("whole GPUs")));
    EXPECT_THAT(problems("name: m\nkind: bench\ntasks: [{name: resnet50, gpus: " + std::string(gpus) + "}]\n"),
                ElementsAre(HasSubstr("whole GPUs")));
  }
}

// --- Settings of one's own ---

TEST(OwnSettings, AreAxesAndPartOfTheKey) {
  const std::string head = kProgram + "command: [p, '{style}', '--n={settings.n}']\n";
  EXPECT_THAT(keys(head + "settings: {style: [short, long], n: [1, 2.5, true, x]}\n"), SizeIs(8));
  EXPECT_EQ(keys(head + "settings: {style: short, n: 1}\n"), keys(head + "settings: {n: 1, style: short}\n"));
  EXPECT_NE(keys(head + "settings: {style: short, n: 1}\n"), keys(head + "settings: {style: short, n: '1'}\n"));
  EXPECT_THAT(problems(head + "settings: {style: [a, a], n: 1}\n"), ElementsAre(HasSubstr("stands twice")));
  EXPECT_THAT(problems(kProgram + "command: [p, '{x}', '{n}']\nsettings: {x: 1, n: []}\n"),
              Contains(HasSubstr("an empty axis")));
}

TEST(OwnSettings, ThatNoWordNamesAreSlips) {
  EXPECT_THAT(problems(kProgram + "command: [p]\nsettings: {sed: 1}\n"),
              ElementsAre(AllOf(HasSubstr("no setting 'sed'; did you mean 'seed'?"), HasSubstr("as {sed}"))));
  EXPECT_THAT(
      problems(kProgram + "command: [p]\nsettings: {temperature: 1}\n"),
      ElementsAre(AllOf(HasSubstr("command cells do not take the setting 'temperature'; eval and train cells do"),
                        HasSubstr("as {temperature}"))));
  EXPECT_THAT(problems(kProgram + "command: {run: [p], env: {A: '{sed}'}}\nsettings: {sed: 1}\n"), IsEmpty());
  EXPECT_THAT(problems(kProgram + "command: [p, '{seed_b}']\nsettings: {seed_a: 1}\n"),
              ElementsAre(HasSubstr("no placeholder {seed_b}"), HasSubstr("no setting 'seed_a'")));
}

TEST(OwnSettings, MayHaveNamesThatOtherKindsOfCellsHave) {
  // Values that say the same as nothing to other kinds are told to a program like any other.
  const std::string head = kProgram + "command: [p, '{full}', '{stages}', '{shots}', '{steps}', '{epochs}']\n";
  const Settings all = settings(head + "settings: {full: false, stages: 1, shots: many, steps: 0, epochs: 0.5}\n");
  EXPECT_EQ(all.truth("full"), false);
  EXPECT_EQ(all.integer("stages"), 1);
  EXPECT_EQ(all.text("shots"), "many");
  EXPECT_EQ(all.integer("steps"), 0);
  EXPECT_EQ(all.number("epochs"), 0.5);
  EXPECT_THAT(keys(head + "settings: {full: [true, false], stages: [1, 2], shots: 1, steps: 1, epochs: 1}\n"),
              SizeIs(4));
}

TEST(OwnSettings, CannotTakeTheNamesOfPlaceholdersOrOfTheEngine) {
  for (const char* name : {"model", "hf_id", "task", "adapter", "output", "out", "engine"})
    EXPECT_THAT(problems(kProgram + "models: [flux_dev]\ntasks: [mmlu]\ncommand: [p, '{" + name + "}']\nsettings: {" +
                         name + ": x}\n"),
                Not(IsEmpty()))
        << name;
  EXPECT_THAT(problems(kProgram + "command: [p, '{a-b}']\nsettings: {a-b: x}\n"), SizeIs(2));
}

TEST(OwnSettings, OfEntriesWinAndCanBeExcluded) {
  const Made made = make(kProgram +
                         "models: [flux_dev, {name: evo2_40b, style: x}]\nsettings: {style: [s, l]}\n"
                         "exclude: [{model: flux_dev, style: l}]\ncommand: [p, '{model}', '{style}']\n");
  EXPECT_THAT(labels(made), ElementsAre("flux_dev - dtype=bf16 gpus=1 seed=0 style=s",
                                        "evo2_40b - dtype=bf16 gpus=1 seed=0 style=x"));
  EXPECT_THAT(made.warnings, IsEmpty());
}

TEST(OwnSettings, ThatSomeCellsLackAreErrors) {
  EXPECT_THAT(
      problems(kProgram + "models: [flux_dev, {name: evo2_40b, style: x}]\ncommand: [p, '{model}', '{style}']\n"),
      ElementsAre(AllOf(HasSubstr("{style} stands for nothing in cells of 'flux_dev'"))));
}

TEST(OwnSettings, BesideStagesReachTheCommandsThatNameThem) {
  const std::string text = R"(
name: m
settings: {style: [s, l], shots: 3}
stages:
  a: {models: [llama31_8b], tasks: [mmlu]}
  b: {kind: command, command: [p, "{style}"]}
  c: {kind: command, command: [q, "{shots}"]}
)";
  const Made made = make(text);
  EXPECT_THAT(made.problems, IsEmpty());
  EXPECT_THAT(labels(made),
              IsSupersetOf({"- - gpus=1 seed=0 style=s", "- - gpus=1 seed=0 style=l", "- - gpus=1 seed=0 shots=3"}));
  EXPECT_THAT(made.expansion->cells, SizeIs(4));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {style: s}\n"),
              ElementsAre(StartsWith("4:12: no setting 'style'")))
      << "other kinds of cells have none";
}

// --- Names of one's own ---

TEST(OwnNames, AreTakenAsTheyAreWhereOnlyCommandsPick) {
  const Made made = make(kIssue);
  EXPECT_THAT(
      made.expansion->notes,
      ElementsAre("the matrix: 2 models and 2 tasks are names of this matrix, of which the catalog knows nothing"));
  std::set<std::string> pairs;
  for (const Cell& cell : made.expansion->cells) {
    const Model& model = made.catalog.models[cell.model];
    EXPECT_TRUE(model.own);
    EXPECT_TRUE(made.catalog.tasks[cell.task].own);
    pairs.insert(model.name + made.catalog.tasks[cell.task].name);
  }
  EXPECT_THAT(pairs, ElementsAre("ax", "ay", "bx", "by"));
  EXPECT_EQ(made.catalog.models.size(), kCatalog.models.size() + 2);
}

TEST(OwnNames, AreContentAndDifferFromTheCatalogs) {
  const std::string text = kProgram + "models: [NAME]\ncommand: [p, '{model}']\n";
  const auto of = [&](const std::string& name) {
    std::string with = text;
    return keys(with.replace(with.find("NAME"), 4, name));
  };
  std::set<std::string> all = of("a");
  all.merge(of("b"));
  all.merge(of("\"über modèle (v2)\""));
  all.merge(of("flux_dev"));
  EXPECT_THAT(all, SizeIs(4));
  EXPECT_EQ(keys(kProgram + "models: [a, b]\ncommand: [p, '{model}']\n"),
            keys(kProgram + "models: [b, a]\ncommand: [p, '{model}']\n"));
  // What the catalog gets to know later is another model: it then has an id and a revision.
  Catalog knows = kCatalog;
  knows.models.put(orch::test::small_model("a", "llama", 1e9, 2048, DType::kBf16, {Engine::kCommand}));
  EXPECT_NE(keys(kProgram + "models: [a]\ncommand: [p, '{model}']\n", knows), of("a"));
}

TEST(OwnNames, AreErrorsWhereAnyOtherKindOfCellPicksThem) {
  EXPECT_THAT(problems("name: m\nmodels: [a]\ntasks: [mmlu]\n"), ElementsAre(StartsWith("2:10: no model 'a'")));
  const std::string outer =
      "name: m\nmodels: [a]\ntasks: [mmlu]\nstages:\n  c: {kind: command, command: [p, '{model}']}\n";
  EXPECT_THAT(problems(outer), IsEmpty());
  EXPECT_THAT(problems(outer + "  e: {models: [llama31_8b]}\n"), IsEmpty()) << "an eval stage with models of its own";
  EXPECT_THAT(problems(outer + "  e: {}\n"), ElementsAre(StartsWith("2:10: no model 'a'")));
}

TEST(OwnNames, AreNotSeenByGlobsOfOtherStages) {
  const Made made = make(
      "name: m\nstages:\n  c: {kind: command, models: [llama_own], tasks: [own], command: [p, "
      "'{model}', '{task}']}\n  e: {models: ['llama*'], tasks: [{kind: multiple_choice}]}\n");
  ASSERT_THAT(made.problems, IsEmpty());
  for (const Cell& cell : made.expansion->cells) {
    EXPECT_EQ(made.catalog.models[cell.model].own, cell.kind == CellKind::kCommand);
    EXPECT_EQ(made.catalog.tasks[cell.task].own, cell.kind == CellKind::kCommand);
  }
  EXPECT_THAT(problems(kProgram + "models: ['nobody*']\ncommand: [p, '{model}']\n"),
              ElementsAre(HasSubstr("no model matches 'nobody*'")));
}

TEST(OwnNames, AreTextsOfBoundedLength) {
  const auto named = [](const std::string& name) {
    return problems(kProgram + "models: [" + name + "]\ncommand: [p, '{model}']\n");
  };
  EXPECT_THAT(named(std::string(200, 'x')), IsEmpty());
  EXPECT_THAT(named(std::string(201, 'x')), ElementsAre(HasSubstr("1 to 200 bytes")));
  EXPECT_THAT(named("\"a\\tb\""), ElementsAre(HasSubstr("without control characters")));
  EXPECT_THAT(named("''"), ElementsAre(HasSubstr("1 to 200 bytes")));
  EXPECT_THAT(named("a, a"), ElementsAre(HasSubstr("named twice")));
}

TEST(OwnNames, ThatAreNearlyTheCatalogsAreNoted) {
  const std::string head = kProgram + "command: [p, '{model}', '{task}']\n";
  EXPECT_THAT(make(head + "models: [llama31-8b]\ntasks: [mmlu2]\n").warnings,
              UnorderedElementsAre("4:10: 'llama31-8b' is taken as your own name; the catalog has 'llama31_8b'",
                                   "5:9: 'mmlu2' is taken as your own name; the catalog has 'mmlu'"));
  EXPECT_THAT(make(head + "models: [l, a, house]\ntasks: [m, x]\n").warnings, IsEmpty());
}

TEST(OwnNames, HaveNothingButTheName) {
  EXPECT_THAT(problems(kProgram + "models: [a]\ncommand: [p, '{hf_id}']\n"),
              ElementsAre(StartsWith("4:14: {hf_id} stands for nothing for 'a'")));
  EXPECT_THAT(problems(kProgram + "models: [a]\ncommand: [p, '{dtype}']\n"),
              ElementsAre(HasSubstr("{dtype} stands for nothing for 'a'")));
  EXPECT_THAT(problems(kProgram + "models: [a]\nsettings: {dtype: fp8}\ncommand: [p, '{dtype}', '{model}']\n"),
              IsEmpty());
  EXPECT_THAT(problems(kProgram + "models: [{name: a, family: llama}]\ncommand: [p]\n"),
              ElementsAre(HasSubstr("it meets no condition")));
  EXPECT_THAT(problems(kProgram + "models: [a]\ntasks: [mmlu]\ncategories: [LARGE]\ncommand: [p]\n"),
              ElementsAre(HasSubstr("which no category holds")));
  EXPECT_THAT(labels(make(kProgram + "models: [a]\ncommand: [p, '{model}']\n")), ElementsAre("a - gpus=1 seed=0"));
}

TEST(OwnNames, CanBeExcluded) {
  const Made made = make(kProgram +
                         "models: [a, b]\ntasks: [x, y]\nexclude: [{model: a, task: y}]\ncommand: [p, '{model}', "
                         "'{task}']\n");
  EXPECT_THAT(labels(made), ElementsAre("a x gpus=1 seed=0", "b x gpus=1 seed=0", "b y gpus=1 seed=0"));
  EXPECT_THAT(problems(kProgram + "models: [a]\nexclude: [{model: c}]\ncommand: [p, '{model}']\n"),
              ElementsAre(HasSubstr("no model 'c'")));
}

TEST(OwnNames, NeedTheCatalogThatHasThem) {
  Diagnostics diagnostics;
  const auto matrix = orch::test::read(kIssue, kCatalog, diagnostics);
  ASSERT_TRUE(matrix);
  EXPECT_FALSE(expand(*matrix, kCatalog, {}, diagnostics));
  EXPECT_FALSE(diagnostics.ok()) << "cells are never dropped in silence";
}

// --- What a cell's program is told ---

TEST(Placeholders, OfACellAreFilledWithItsFacts) {
  const Made made = make(kProgram + R"(
models: [a]
tasks: [mmlu]
settings: {lr: 0.5, dry: true, style: "{seed} $HOME", seed: 3}
command:
  run: [p, "{model}", "{task}", "{lr}", "{dry}", "{style}", "{settings.seed}", "{gpus}", "{time}", "{memory}", "{out}", "{output}"]
  gpus: 0.25
  time: 10m
  memory: 4G
  env: {A: "{seed}-{{}}"}
)");
  ASSERT_THAT(made.problems, IsEmpty());
  auto values = placeholder_values(made.expansion->cells[0], *made.expansion, made.catalog);
  EXPECT_FALSE(values.contains("hf_id"));
  values["out"] = values["output"] = "/tmp/o";
  const auto words = fill_command(made.expansion->stages[0].command, values);
  ASSERT_TRUE(words);
  EXPECT_THAT(*words, ElementsAre("p", "a", "mmlu", "0.5", "true", "{seed} $HOME", "3", "0.25", "600", "4294967296",
                                  "/tmp/o", "/tmp/o"));
  const auto env = fill_env(made.expansion->stages[0].env, values);
  ASSERT_TRUE(env);
  EXPECT_THAT(*env, ElementsAre(Pair("A", "3-{}")));
}
