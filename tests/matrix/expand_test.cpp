#include "matrix/expand.h"
#include "matrix/own_names.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <map>
#include <set>

#include "matrix/harness_catalog.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::Contains, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty, ::testing::SizeIs,
    ::testing::StartsWith, ::testing::UnorderedElementsAre;

namespace {

const Catalog kCatalog = orch::test::harness_catalog();

Expansion expand_it(const std::string& text, const ExpandOptions& options = {}) {
  return orch::test::expanded(text, kCatalog, options);
}

std::vector<std::string> problems(const std::string& text, const ExpandOptions& options = {}) {
  return orch::test::problems(text, kCatalog, options);
}

/// `model task settings`, for every cell, in order.
std::vector<std::string> labels(const Expansion& expansion, std::initializer_list<std::string_view> shown) {
  std::vector<std::string> all;
  for (const Cell& cell : expansion.cells) {
    std::string label = cell.model == kNone ? "-" : kCatalog.models[cell.model].name;
    label += " " + (cell.task == kNone ? "-" : kCatalog.tasks[cell.task].name);
    Settings some;
    for (const auto& [name, value] : expansion.settings[cell.settings].values())
      if (std::ranges::find(shown, std::string_view(name)) != shown.end()) some.set(name, value);
    all.push_back(shown.size() ? label + " " + to_string(some) : label);
  }
  return all;
}

std::vector<std::string> rows(const Expansion& expansion) {
  std::vector<std::string> all;
  for (const Rejection& row : expansion.rejected)
    all.push_back(row.model + " " + row.task + " " + row.rule + " " + std::to_string(row.count) + ": " + row.reason);
  return all;
}

std::int64_t rejected(const Expansion& expansion) {
  std::int64_t count = 0;
  for (const Rejection& row : expansion.rejected) count += row.count;
  return count;
}

}  // namespace

TEST(Expand, MakesOneCellOfEachCombination) {
  const Expansion expansion =
      expand_it("name: m\nmodels: [llama31_8b, tinyllama]\ntasks: [mmlu, bfcl]\nsettings: {seed: [0, 1]}\n");
  EXPECT_EQ(expansion.name, "m");
  EXPECT_THAT(labels(expansion, {"seed"}),
              ElementsAre("llama31_8b mmlu seed=0", "llama31_8b mmlu seed=1", "llama31_8b bfcl seed=0",
                          "llama31_8b bfcl seed=1", "tinyllama mmlu seed=0", "tinyllama mmlu seed=1",
                          "tinyllama bfcl seed=0", "tinyllama bfcl seed=1"));
}

TEST(Expand, FillsInWhatTheMatrixDoesNotSay) {
  const Expansion expansion = expand_it("name: m\nmodels: [llama31_70b_fp8, old_fp32]\ntasks: [gsm8k, mmlu]\n");
  EXPECT_THAT(
      labels(expansion, {"dtype", "kv_dtype", "shots", "seed", "engine", "max_tokens", "temperature", "context"}),
      ElementsAre(
          "llama31_70b_fp8 mmlu dtype=fp8 engine=native kv_dtype=bf16 seed=0 shots=5 temperature=0",
          "llama31_70b_fp8 gsm8k dtype=fp8 engine=native kv_dtype=bf16 max_tokens=512 seed=0 shots=5 temperature=0",
          "old_fp32 mmlu dtype=bf16 engine=lm-eval kv_dtype=bf16 seed=0 shots=5 temperature=0",
          "old_fp32 gsm8k dtype=bf16 engine=lm-eval kv_dtype=bf16 max_tokens=512 seed=0 shots=5 temperature=0"));
}

TEST(Expand, HoldsEachSetOfSettingsOnce) {
  const Expansion expansion =
      expand_it("name: m\nmodels: [llama31_8b, tinyllama, falcon_40b]\ntasks: [mmlu]\nsettings: {seed: [0, 1]}\n");
  EXPECT_THAT(expansion.cells, SizeIs(6));
  EXPECT_THAT(expansion.settings, SizeIs(2));
}

// --- Whose settings win ---

TEST(Settings, OfSelectorsWinOverTheStageAndTheStageOverCategories) {
  const std::string picked = "name: m\nmodels: [{category: LARGE}]\ntasks: [mmlu]\n";
  EXPECT_THAT(labels(expand_it(picked), {"kv_dtype"}),
              ElementsAre("llama31_70b_fp8 mmlu kv_dtype=fp8", "falcon_40b mmlu kv_dtype=fp8"));
  EXPECT_THAT(labels(expand_it(picked + "settings: {kv_dtype: fp16}\n"), {"kv_dtype"}),
              ElementsAre("llama31_70b_fp8 mmlu kv_dtype=fp16", "falcon_40b mmlu kv_dtype=fp16"));
  EXPECT_THAT(labels(expand_it("name: m\nmodels: [{category: LARGE}, {name: falcon_40b, kv_dtype: bf16, seed: "
                               "3}]\ntasks: [{name: mmlu, seed: 5}]\n"
                               "settings: {kv_dtype: fp16}\n"),
                     {"kv_dtype", "seed"}),
              ElementsAre("llama31_70b_fp8 mmlu kv_dtype=fp16 seed=5", "falcon_40b mmlu kv_dtype=bf16 seed=5"));
}

TEST(Settings, OfANameWinOverThoseOfAGlobWhereverItStands) {
  for (const char* models : {"[{name: 'falcon*', seed: 1, shots: 2}, {name: falcon_40b, seed: 2}]",
                             "[{name: falcon_40b, seed: 2}, {name: 'falcon*', seed: 1, shots: 2}]"})
    EXPECT_THAT(labels(expand_it(std::string("name: m\ntasks: [mmlu]\nmodels: ") + models + "\n"), {"seed", "shots"}),
                ElementsAre("falcon_40b mmlu seed=2 shots=2", "falcon_180b mmlu seed=1 shots=2"));
}

TEST(Categories, PairModelsAndTasksOnlyWithinThemselves) {
  const Expansion expansion = expand_it("name: m\ncategories: [LARGE, CODE]\n");
  EXPECT_THAT(labels(expansion, {"kv_dtype"}),
              UnorderedElementsAre("llama31_70b_fp8 mmlu kv_dtype=fp8", "llama31_70b_fp8 gsm8k kv_dtype=fp8",
                                   "falcon_40b mmlu kv_dtype=fp8", "falcon_40b gsm8k kv_dtype=fp8",
                                   "llama31_8b mbpp kv_dtype=bf16"));
  EXPECT_THAT(labels(expand_it("name: m\ncategories: [LARGE, CODE]\nmodels: ['falcon*']\n"), {}),
              ElementsAre("falcon_40b mmlu", "falcon_40b gsm8k"))
      << "models and tasks narrow it";
}

// --- What cannot run ---

TEST(Rejections, OfImagesForAModelThatSeesNoneNameTheRuleVision) {
  const Expansion expansion =
      expand_it("name: m\nmodels: [llama31_8b, internvl2_76b]\ntasks: [docvqa]\nsettings: {seed: [0, 1, 2]}\n");
  EXPECT_THAT(labels(expansion, {"engine"}), Contains("internvl2_76b docvqa engine=lm-eval"))
      << "native shows no images";
  EXPECT_THAT(expansion.cells, SizeIs(3));
  EXPECT_THAT(rows(expansion),
              ElementsAre("llama31_8b docvqa vision 3: the questions have images, and the model sees none"));
}

TEST(Rejections, OfAModelThatReadsNoTextAreOneRowForAllItsTasks) {
  const Expansion expansion = expand_it("name: m\nmodels: [flux_dev, evo2_40b]\ntasks: [mmlu, gsm8k]\n");
  EXPECT_THAT(expansion.cells, IsEmpty());
  EXPECT_THAT(rows(expansion), ElementsAre(StartsWith("flux_dev * kind 2: a model of kind image"),
                                           StartsWith("evo2_40b * kind 2: a model of kind other")));
}

TEST(Rejections, OfTasksThatAGlobPicksAreOneRowForAllModels) {
  const Expansion expansion = expand_it("name: m\nmodels: [llama31_8b, tinyllama]\ntasks: ['*p*']\n");
  // mbpp, dpo: the first is asked, the second is training. bench is not met.
  EXPECT_THAT(labels(expansion, {}), ElementsAre("llama31_8b mbpp", "tinyllama mbpp"));
  EXPECT_THAT(rows(expansion), ElementsAre("* dpo kind 2: a task of kind train is not for eval cells"));
}

TEST(Rejections, OfAnEngineSayWhichOnesThereAre) {
  const Expansion expansion =
      expand_it("name: m\nmodels: [falcon_40b, llama31_8b]\ntasks: [mmlu]\nsettings: {engine: [native, lm-eval]}\n");
  EXPECT_THAT(
      labels(expansion, {"engine"}),
      ElementsAre("llama31_8b mmlu engine=native", "llama31_8b mmlu engine=lm-eval", "falcon_40b mmlu engine=native"));
  EXPECT_THAT(rows(expansion), ElementsAre("falcon_40b * engine 1: it runs on native, not on lm-eval"));
}

TEST(Rejections, OfWeightsThatWouldBeQuantisedTwice) {
  const Expansion expansion = expand_it(
      "name: m\nmodels: [llama31_70b_fp8, llama31_8b]\ntasks: [mmlu]\nsettings: {dtype: [bf16, fp8, int8, int4]}\n");
  EXPECT_THAT(
      labels(expansion, {"dtype"}),
      ElementsAre("llama31_8b mmlu dtype=bf16", "llama31_8b mmlu dtype=fp8", "llama31_8b mmlu dtype=int8",
                  "llama31_8b mmlu dtype=int4", "llama31_70b_fp8 mmlu dtype=bf16", "llama31_70b_fp8 mmlu dtype=fp8"));
  EXPECT_THAT(rows(expansion), ElementsAre(StartsWith("llama31_70b_fp8 * dtype 1: it is stored in fp8"),
                                           StartsWith("llama31_70b_fp8 * dtype 1: ")));
}

TEST(Rejections, OfMoreShotsThanTheContextHoldsSayHowLongThePromptIs) {
  // falcon_40b keeps 2,048 tokens; a question of `books` has 1,500, an example as many: 0 shots 1,500, 1 shot 3,000.
  const Expansion expansion =
      expand_it("name: m\nmodels: [falcon_40b, llama31_8b]\ntasks: [{name: books, shots: [0, 1, 2]}]\n");
  EXPECT_THAT(labels(expansion, {"shots"}), ElementsAre("llama31_8b books shots=0", "llama31_8b books shots=1",
                                                        "llama31_8b books shots=2", "falcon_40b books shots=0"));
  EXPECT_THAT(
      rows(expansion),
      ElementsAre(
          "falcon_40b books context 1: with 1 shot a prompt has about 3,000 tokens, and the model's context is 2,048",
          "falcon_40b books context 1: with 2 shots a prompt has about 4,500 tokens, and the model's context is "
          "2,048"));
}

TEST(Rejections, OfALongerContextThanTheModels) {
  const Expansion expansion =
      expand_it("name: m\nmodels: [falcon_40b]\ntasks: [mmlu]\nsettings: {context: [2048, 2049]}\n");
  EXPECT_THAT(expansion.cells, SizeIs(1));
  EXPECT_THAT(rows(expansion),
              ElementsAre("falcon_40b * context 1: context is 2,049 tokens, and the model's context is 2,048"));
}

TEST(Rejections, OfTrainingNameWhatCannotTrain) {
  const Expansion expansion = expand_it(
      "name: m\nkind: train\nmodels: [llama31_8b, old_fp32, flux_dev, llama31_70b_fp8]\ntasks: [sft, style]\nsettings: "
      "{full: [true, false]}\n");
  EXPECT_THAT(rows(expansion),
              UnorderedElementsAre(
                  "llama31_8b style kind 2: the task trains image models, and this is a model of kind text",
                  "old_fp32 style kind 2: the task trains image models, and this is a model of kind text",
                  "llama31_70b_fp8 style kind 2: the task trains image models, and this is a model of kind text",
                  "old_fp32 * engine 2: the engine lm-eval does not train",
                  "flux_dev sft kind 2: the task trains on text, and this is a model of kind image",
                  StartsWith("flux_dev * engine 2: the engine command needs the key `command`"),
                  StartsWith("llama31_70b_fp8 * dtype 1: all weights are to be trained")));
  EXPECT_THAT(expansion.cells, SizeIs(3));
}

TEST(Rejections, OfGpusThatNodesCannotShare) {
  const Expansion expansion =
      expand_it("name: m\nkind: bench\ntasks: [resnet50]\nsettings: {gpus: [8, 12, 16], nodes: [1, 8]}\n");
  EXPECT_THAT(rows(expansion), ElementsAre("* resnet50 layout 1: 12 GPUs cannot be shared evenly by 8 nodes"));
  EXPECT_THAT(expansion.cells, SizeIs(5));
}

// --- Training and adapters ---

TEST(Training, IsCompletedByTheCallerOnceForEachCell) {
  int calls = 0;
  ExpandOptions options;
  options.train_defaults = [&](const Model& model, const Task& task, Settings& settings) {
    ++calls;
    EXPECT_EQ(task.name, "sft");
    EXPECT_EQ(settings.integer("seed"), 0);
    EXPECT_EQ(settings.dtype("dtype"), DType::kBf16);
    if (!settings.has("alpha")) settings.set("alpha", 2.0 * static_cast<double>(settings.integer("rank").value_or(1)));
    return std::vector<std::string>{"alpha is twice the rank", "for " + model.family};
  };
  const Expansion expansion = expand_it(
      "name: m\nkind: train\nmodels: [llama31_8b, tinyllama]\ntasks: [sft]\nsettings: {rank: [8, 16]}\n", options);
  EXPECT_EQ(calls, 4);
  EXPECT_THAT(labels(expansion, {"rank", "alpha", "epochs", "schedule"}),
              ElementsAre("llama31_8b sft alpha=16 epochs=1 rank=8 schedule=cosine",
                          "llama31_8b sft alpha=32 epochs=1 rank=16 schedule=cosine",
                          "tinyllama sft alpha=16 epochs=1 rank=8 schedule=cosine",
                          "tinyllama sft alpha=32 epochs=1 rank=16 schedule=cosine"));
  EXPECT_THAT(expansion.notes, ElementsAre("llama31_8b / sft: alpha is twice the rank", "llama31_8b / sft: for llama",
                                           "tinyllama / sft: alpha is twice the rank", "tinyllama / sft: for llama"));
}

TEST(Adapters, AreCrossedWithTheTasksAndSettingsOfTheirStage) {
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b, falcon_40b]
stages:
  tuned: {adapter: tune, tasks: [mmlu, gsm8k], settings: {seed: [0, 1, 2]}}
  tune: {kind: train, tasks: [sft, dpo], settings: {rank: [8, 16]}}
)");
  // Each model: 2 tasks × 2 ranks = 4 trainings; 4 adapters × 2 tasks × 3 seeds = 24 evaluations.
  std::map<std::uint32_t, int> of_adapter;
  int trainings = 0;
  for (std::uint32_t i = 0; i < expansion.cells.size(); ++i) {
    const Cell& cell = expansion.cells[i];
    trainings += cell.kind == CellKind::kTrain;
    if (cell.depends == kNone) continue;
    ASSERT_LT(cell.depends, i);
    EXPECT_EQ(expansion.cells[cell.depends].kind, CellKind::kTrain);
    EXPECT_EQ(expansion.cells[cell.depends].model, cell.model);
    ++of_adapter[cell.depends];
  }
  EXPECT_EQ(trainings, 8);
  EXPECT_EQ(of_adapter.size(), 8u);
  for (const auto& [adapter, count] : of_adapter) EXPECT_EQ(count, 6) << adapter;
  EXPECT_EQ(expansion.cells.size(), 8u + 48u);
}

TEST(Adapters, WithoutModelsTakeThoseThatWereTrainedAndWithModelsRejectTheOthers) {
  const std::string train = "name: m\nstages:\n  tune: {kind: train, models: [llama31_8b], tasks: [sft]}\n";
  EXPECT_THAT(labels(expand_it(train + "  tuned: {adapter: tune, tasks: [mmlu]}\n"), {}),
              ElementsAre("llama31_8b sft", "llama31_8b mmlu"));
  const Expansion expansion =
      expand_it(train + "  tuned: {adapter: tune, models: [llama31_8b, tinyllama], tasks: [mmlu, bfcl]}\n");
  EXPECT_THAT(rows(expansion), ElementsAre("tinyllama * adapter 2: stage 'tune' trains no adapter of it"));
}

TEST(Adapters, OfRejectedTrainingsAreCountedAsRejectedEvaluations) {
  // Weights in fp8 are too coarse to be trained whole: `full: true` is rejected, the adapter is made. 6 evaluations of
  // it, 6 of what is not made; those with seed 2 are left out of both.
  const Expansion one = expand_it(R"(
name: m
models: [llama31_70b_fp8]
stages:
  tune: {kind: train, tasks: [sft], settings: {full: [true, false]}}
  tuned: {adapter: tune, tasks: [mmlu, gsm8k], settings: {seed: [0, 1, 2, 3]}, exclude: [{seed: 2}]}
)");
  EXPECT_THAT(one.cells, SizeIs(1 + 6));
  EXPECT_THAT(rows(one), ElementsAre(StartsWith("llama31_70b_fp8 * dtype 1: "),
                                     "llama31_70b_fp8 * adapter 6: its adapter would be made by a training of stage "
                                     "'tune' that is rejected"));
  // Two trainings, both rejected: 2 evaluations of each.
  const Expansion all = expand_it(R"(
name: m
models: [llama31_70b_fp8]
stages:
  tune: {kind: train, tasks: [sft], settings: {full: true, rank: [8, 16]}}
  tuned: {adapter: tune, tasks: [mmlu], settings: {seed: [0, 1]}}
)");
  EXPECT_THAT(all.cells, IsEmpty());
  EXPECT_THAT(rows(all), ElementsAre(StartsWith("llama31_70b_fp8 * dtype 2: "),
                                     StartsWith("llama31_70b_fp8 * adapter 4: its adapter would be made by")));
  // The engine of old_fp32 does not train, and it is not named in `tuned`: 1 training of each, 1 evaluation of each.
  const Expansion unnamed = expand_it(R"(
name: m
stages:
  tune: {kind: train, models: [old_fp32, llama31_8b], tasks: [sft]}
  tuned: {adapter: tune, tasks: [mmlu]}
)");
  EXPECT_THAT(unnamed.cells, SizeIs(2));
  EXPECT_THAT(rows(unnamed), ElementsAre(StartsWith("old_fp32 * engine 1: "), StartsWith("old_fp32 * adapter 1: ")));
}

TEST(Adapters, OfMergedTrainingsDependOnTheFirst) {
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b]
stages:
  one: {kind: train, tasks: [sft]}
  two: {kind: train, tasks: [sft]}
  tuned: {adapter: two, tasks: [mmlu]}
)");
  EXPECT_EQ(expansion.duplicates, 1);
  ASSERT_THAT(expansion.cells, SizeIs(2));
  EXPECT_EQ(expansion.cells[1].depends, 0u);
}

// --- Other kinds ---

TEST(Benchmarks, HaveAxesOfGpusAndNoModel) {
  const Expansion expansion =
      expand_it("name: m\nkind: bench\ntasks: [resnet50]\nsettings: {gpus: [1, 2, 4, 8, 16]}\n");
  EXPECT_THAT(labels(expansion, {"gpus", "batch"}),
              ElementsAre("- resnet50 batch=256 gpus=1", "- resnet50 batch=256 gpus=2", "- resnet50 batch=256 gpus=4",
                          "- resnet50 batch=256 gpus=8", "- resnet50 batch=256 gpus=16"));
}

TEST(Commands, MayDoWithoutModelsAndTasks) {
  EXPECT_THAT(labels(expand_it("name: m\nkind: command\ncommand: [run, '{seed}']\nsettings: {seed: [1, 2]}\n"),
                     {"seed", "gpus"}),
              ElementsAre("- - gpus=1 seed=1", "- - gpus=1 seed=2"));
  EXPECT_THAT(
      labels(expand_it("name: m\nkind: command\nmodels: [evo2_40b, flux_dev]\ncommand: [run, '{model}']\n"), {}),
      ElementsAre("flux_dev -", "evo2_40b -"));
}

TEST(Commands, ThatAreNotGivenAreRejectionsOfTheModelsThatNeedThem) {
  EXPECT_THAT(rows(expand_it("name: m\nkind: train\nmodels: [flux_dev, llama31_8b]\ntasks: [style]\n")),
              Contains(StartsWith("flux_dev * engine 1: the engine command needs the key `command`")));
  Catalog catalog = orch::test::harness_catalog();
  Category programs;
  programs.name = "PROGRAMS";
  programs.models = {"llama31_8b"};
  programs.tasks = {"mmlu"};
  Diagnostics diagnostics;
  programs.settings.emplace("engine", *parse_yaml("command", "catalog.yaml", diagnostics));
  catalog.categories.put(programs);
  const Expansion expansion = orch::test::expanded("name: m\ncategories: [PROGRAMS]\n", catalog);
  EXPECT_THAT(expansion.cells, IsEmpty());
  EXPECT_THAT(rows(expansion),
              ElementsAre(StartsWith("llama31_8b * engine 1: the engine command needs the key `command`")));
}

// --- Computation ---

TEST(Computation, FollowsTheWeightsAndIsWidenedWhereTheyAreNarrow) {
  EXPECT_THAT(labels(expand_it("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {dtype: [fp32, bf16, int8, "
                               "fp16, fp8], seed: [0, 1]}\nexclude: [{seed: 1, compute_dtype: bf16}]\n"),
                     {"dtype", "compute_dtype", "seed"}),
              ElementsAre("llama31_8b mmlu compute_dtype=fp32 dtype=fp32 seed=0",
                          "llama31_8b mmlu compute_dtype=fp32 dtype=fp32 seed=1",
                          "llama31_8b mmlu compute_dtype=bf16 dtype=bf16 seed=0",
                          "llama31_8b mmlu compute_dtype=bf16 dtype=int8 seed=0",
                          "llama31_8b mmlu compute_dtype=fp16 dtype=fp16 seed=0",
                          "llama31_8b mmlu compute_dtype=fp16 dtype=fp16 seed=1",
                          "llama31_8b mmlu compute_dtype=bf16 dtype=fp8 seed=0"));
}

// --- Bounds ---

TEST(Bounds, OfCombinationsCountThoseThatCannotRun) {
  // 2 models that answer no questions × 2 tasks × 2 seeds = 8.
  const std::string text = "name: m\nmodels: [flux_dev, evo2_40b]\ntasks: [mmlu, gsm8k]\nsettings: {seed: [0, 1]}\n";
  ExpandOptions options;
  options.most_cells = 7;
  EXPECT_THAT(problems(text, options), ElementsAre(HasSubstr("asks for 8 cells")));
  options.most_cells = 8;
  EXPECT_THAT(problems(text, options), IsEmpty());
}

TEST(Bounds, OfCombinationsAreThoseOfAllStagesTogether) {
  const std::string text =
      "name: m\nmodels: [flux_dev, evo2_40b]\nstages: {a: {tasks: [mmlu, gsm8k]}, b: {tasks: [mbpp]}}\n";
  ExpandOptions options;
  options.most_cells = 5;  // 4 of a and 2 of b
  EXPECT_THAT(problems(text, options), ElementsAre(HasSubstr("stage 'b' asks for 2 cells")));
}

TEST(Bounds, OfRejectionsMergeRowsOfOneReason) {
  // 110 models that see nothing × 100 tasks with images: 11,000 rows, of which 10,000 stand alone.
  Catalog catalog = orch::test::harness_catalog();
  for (int i = 0; i < 110; ++i)
    catalog.models.put(
        orch::test::small_model("blind" + std::to_string(i), "blind", 1e9, 4096, DType::kBf16, {Engine::kNative}));
  for (int i = 0; i < 100; ++i)
    catalog.tasks.put(orch::test::small_task("look" + std::to_string(i), TaskKind::kVisionLanguage, "multimodal",
                                             "eval", 0, 60, 0, 64));
  const Expansion expansion = orch::test::expanded("name: m\nmodels: ['blind*']\ntasks: ['look*']\n", catalog);
  ASSERT_THAT(expansion.rejected, SizeIs(10'001));
  EXPECT_EQ(rejected(expansion), 11'000);
  const Rejection& last = expansion.rejected.back();
  EXPECT_EQ(last.model + last.task + last.rule, "**vision");
  EXPECT_EQ(last.reason, "the questions have images, and the model sees none");
  EXPECT_EQ(last.count, 1000);
}

TEST(Bounds, OfRejectionsHoldForReasonsToo) {
  // 20,010 lengths, each over the context of 2,048 and so a reason of its own: 10,000 rows of the model, 10,000 of any
  // model, one for the other 10.
  std::string values;
  for (int i = 0; i < 20'010; ++i) values += (i ? "," : "") + std::to_string(2049 + i);
  const Expansion expansion =
      expand_it("name: m\nmodels: [falcon_40b]\ntasks: [mmlu]\nsettings: {context: [" + values + "]}\n");
  EXPECT_THAT(expansion.cells, IsEmpty());
  ASSERT_THAT(expansion.rejected, SizeIs(20'001));
  EXPECT_EQ(expansion.rejected.front().model, "falcon_40b");
  EXPECT_EQ(expansion.rejected[10'000].model, "*");
  EXPECT_EQ(expansion.rejected.back().rule, "context");
  EXPECT_EQ(expansion.rejected.back().count, 10);
  EXPECT_EQ(rejected(expansion), 20'010);
}

TEST(Bounds, HoldForNotes) {
  ExpandOptions options;
  int calls = 0;
  options.train_defaults = [&](const Model&, const Task&, Settings&) {
    return std::vector<std::string>{"choice " + std::to_string(calls++)};
  };
  std::string seeds;
  for (int i = 0; i < 10'010; ++i) seeds += (i ? "," : "") + std::to_string(i);
  EXPECT_THAT(expand_it("name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings: {seed: [" + seeds + "]}\n",
                        options)
                  .notes,
              SizeIs(10'000));
}

TEST(Bounds, AreKeptBeforeAnythingIsMade) {
  ExpandOptions options;
  options.most_cells = 11;
  EXPECT_THAT(
      problems("name: m\nmodels: [llama31_8b, tinyllama]\ntasks: [mmlu, bfcl]\nsettings: {seed: [0, 1, 2]}\n", options),
      ElementsAre(HasSubstr(
          "the matrix asks for 12 cells (2 models × 2 tasks × the settings); at most 11 can be in a matrix")));
  options.most_cells = 12;
  EXPECT_THAT(
      problems("name: m\nmodels: [llama31_8b, tinyllama]\ntasks: [mmlu, bfcl]\nsettings: {seed: [0, 1, 2]}\n", options),
      IsEmpty());
}

TEST(Bounds, HoldAlsoWhenTheCountOverflows) {
  std::string values;
  for (int i = 1; i <= 100; ++i) values += (i > 1 ? "," : "") + std::to_string(i);
  std::string text = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings:\n";
  // 100 values on each of 12 axes: 10^24 combinations, past what 64 bits count.
  for (const char* name : {"seed", "rank", "alpha", "batch_size", "accumulation", "micro_batch", "epochs", "beta",
                           "clip", "checkpoint_every", "keep_checkpoints"})
    text += std::string("  ") + name + ": [" + values + "]\n";
  EXPECT_THAT(problems(text), ElementsAre(HasSubstr("asks for more cells than can be counted")));
}

TEST(Bounds, HoldForTheMemoryOfSettingsToo) {
  std::string values;
  for (int i = 0; i < 2000; ++i) values += (i ? "," : "") + std::to_string(i);
  const std::string text = "name: m\nkind: command\ncommand: [run]\nsettings: {container: " + std::string(4000, 'x') +
                           ", seed: [" + values +
                           "], gpu_memory: [20GiB, 21GiB, 22GiB, 23GiB, 24GiB], gpus: "
                           "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}\n";
  // 2,000 × 5 × 20 = 200,000 combinations, each with a text of 4,000 bytes.
  EXPECT_THAT(problems(text), ElementsAre(HasSubstr("so many combinations of settings that they would take")));
}

TEST(Expand, AccountsForEveryCombination) {
  // cells = product of the axes − exclusions − rejections, over matrices of many shapes.
  const struct {
    const char *models, *tasks;
    int model_count, task_count;
  } picked[] = {{"[llama31_8b]", "[mmlu]", 1, 1},
                {"all", "[mmlu, gsm8k, docvqa]", 9, 3},
                {"['*llama*', flux_dev]", "all", 4, 10},
                {"[{family: falcon}]", "[{kind: eval}]", 2, 6}};
  const struct {
    const char* text;
    int count;
  } axes[] = {
      {"seed: [0, 1]", 2}, {"dtype: [bf16, int8, fp8]", 3}, {"engine: [native, lm-eval]", 2}, {"shots: [0, 3, 20]", 3}};
  for (const auto& pick : picked)
    for (unsigned chosen = 0; chosen < 16; ++chosen)
      for (const bool exclude : {false, true}) {
        std::string settings;
        std::int64_t combinations = 1;
        for (unsigned i = 0; i < 4; ++i) {
          if (!(chosen >> i & 1)) continue;
          settings += (settings.empty() ? "" : ", ") + std::string(axes[i].text);
          combinations *= axes[i].count;
        }
        std::string text = std::string("name: m\nmodels: ") + pick.models + "\ntasks: " + pick.tasks + "\nsettings: {" +
                           settings + "}\n";
        if (exclude) text += "exclude: [{task: mmlu}]\n";
        const Expansion expansion = expand_it(text);
        const bool has_mmlu = std::string(pick.tasks) != "[gsm8k]";
        const std::int64_t asked = pick.model_count * (pick.task_count - (exclude && has_mmlu)) * combinations;
        EXPECT_EQ(static_cast<std::int64_t>(expansion.cells.size()) + rejected(expansion), asked) << text;
        std::set<Digest> keys;
        for (const Cell& cell : expansion.cells) keys.insert(cell.key);
        EXPECT_EQ(keys.size(), expansion.cells.size()) << text;
      }
}

// --- What ships ---

TEST(Examples, ReadAndExpandWithTheShippedCatalog) {
  namespace fs = std::filesystem;
  const fs::path root = orch::test::source_dir();
  Diagnostics diagnostics;
  const fs::path sources[] = {root / "db" / "catalog"};
  const Catalog catalog = load_catalog(sources, diagnostics);
  check_category_settings(catalog, diagnostics);
  std::map<std::string, std::size_t> cells;
  for (const fs::directory_entry& entry : fs::directory_iterator(root / "examples")) {
    if (entry.path().extension() != ".yaml") continue;
    const auto yaml = load_yaml(entry.path(), diagnostics);
    const auto matrix =
        yaml ? read_matrix(*yaml, entry.path().filename().string(), catalog, diagnostics) : std::nullopt;
    const auto expansion = matrix ? expand(*matrix, with_own_names(*matrix, catalog), {}, diagnostics) : std::nullopt;
    if (expansion) cells[entry.path().stem().string()] = expansion->cells.size();
  }
  for (const Problem& problem : diagnostics.errors()) ADD_FAILURE() << to_string(problem.place) << ": " << problem.what;
  // base 3 × 3, tune 3 × 2 ranks, tuned 6 adapters × 3 tasks
  EXPECT_EQ(cells["tune-and-compare"], 9u + 6 + 18);
  // 3 seeds, 1 picture, 2 models × 2 tasks × 2 styles × 2 seeds of their own names
  EXPECT_EQ(cells["command"], 3u + 1 + 16);
  // every benchmark on 5 numbers of GPUs
  EXPECT_EQ(cells["scaling"] % 5, 0u);
  EXPECT_GT(cells["scaling"], 0u);
  EXPECT_GT(cells["all"], 61u * 17);
  EXPECT_GT(cells["nightly-core"], 100u);
}
