// What `exclude` leaves out, also of what could not run anyway.
#include <gmock/gmock.h>

#include <set>

#include "matrix/expand.h"
#include "matrix/harness_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::ElementsAre, ::testing::IsEmpty, ::testing::SizeIs, ::testing::StartsWith;

namespace {

const Catalog kCatalog = orch::test::harness_catalog();

Expansion expand_it(const std::string& text, const ExpandOptions& options = {}) {
  return orch::test::expanded(text, kCatalog, options);
}

std::vector<std::string> warnings(const std::string& text) {
  Diagnostics diagnostics;
  const auto matrix = orch::test::read(text, kCatalog, diagnostics);
  if (matrix) expand(*matrix, kCatalog, {}, diagnostics);
  EXPECT_TRUE(diagnostics.ok());
  std::vector<std::string> lines;
  for (const Problem& problem : diagnostics.warnings()) lines.push_back(to_string(problem.place) + ": " + problem.what);
  return lines;
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

TEST(Exclusions, LeaveOutTheCellsForWhichAllPartsHold) {
  const Expansion expansion = expand_it(
      "name: m\nmodels: [llama31_8b, falcon_40b]\ntasks: [mmlu, gsm8k]\nsettings: {seed: [0, 1]}\n"
      "exclude: [{model: 'falcon*', task: gsm8k}, {task: mmlu, seed: 1}, {model: {family: llama}, task: gsm8k, seed: "
      "0, shots: 5}]\n");
  EXPECT_THAT(labels(expansion, {"seed"}),
              ElementsAre("llama31_8b mmlu seed=0", "llama31_8b gsm8k seed=1", "falcon_40b mmlu seed=0"));
  EXPECT_THAT(expansion.rejected, IsEmpty());
}

TEST(Exclusions, OfSettingsMeetWhateverElseTheCellSays) {
  // 2 models × 1,000 seeds × chat or not = 4,000. Left out: seeds 0 to 499 for both (2,000); of the other 500, those
  // of a chat with seed 500 (2 cells); falcon's with seed 501 to 510 (20 cells, chat and not). An exclusion with
  // chat_template: false meets what does not say it: seed 999 (2 cells).
  std::string seeds, exclude;
  for (int i = 0; i < 1000; ++i) seeds += (i ? "," : "") + std::to_string(i);
  for (int i = 0; i < 500; ++i) exclude += "{seed: " + std::to_string(i) + "}, ";
  for (int i = 501; i <= 510; ++i) exclude += "{model: 'falcon*', seed: " + std::to_string(i) + "}, ";
  const std::string text = "name: m\nmodels: [llama31_8b, falcon_40b]\ntasks: [mmlu]\nsettings: {seed: [" + seeds +
                           "], chat_template: [true, false]}\nexclude: [" + exclude +
                           "{seed: 500, chat_template: true}, {seed: 999, chat_template: false}]\n";
  EXPECT_THAT(expand_it(text).cells, SizeIs(4000 - 2000 - 2 - 20 - 2));
  EXPECT_THAT(warnings(text), IsEmpty());
}

TEST(Exclusions, OfTrainingsComeBeforeTheirRejection) {
  // Stored in fp8, so int8 would be rejected.
  const std::string text =
      "name: m\nkind: train\nmodels: [llama31_70b_fp8]\ntasks: [sft]\nsettings: {dtype: [bf16, int8]}\n"
      "exclude: [{dtype: int8}]\n";
  const Expansion expansion = expand_it(text);
  EXPECT_THAT(expansion.cells, SizeIs(1));
  EXPECT_THAT(rows(expansion), IsEmpty());
  EXPECT_THAT(warnings(text), IsEmpty());
}

TEST(Exclusions, ThatLeaveOutNothingAreWarnedOf) {
  EXPECT_THAT(
      warnings("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nexclude: [{model: tinyllama}, {seed: 3}, {model: "
               "llama31_8b, seed: 0}]\n"),
      ElementsAre("m.yaml:4:11: this exclusion leaves out nothing", "m.yaml:4:31: this exclusion leaves out nothing"));
}

TEST(Exclusions, LeaveOutCombinationsOfPairsThatAreRejected) {
  // flux_dev answers no questions: 2 seeds × 3 number formats, less seed 1 with any (3) and seed 0 in int8 (1).
  const std::string text =
      "name: m\nmodels: [flux_dev]\ntasks: [mmlu]\nsettings: {seed: [0, 1], dtype: [bf16, fp16, int8]}\n"
      "exclude: [{seed: 1}, {model: flux_dev, dtype: int8, seed: 0}]\n";
  const Expansion expansion = expand_it(text);
  EXPECT_THAT(expansion.cells, IsEmpty());
  EXPECT_THAT(rows(expansion), ElementsAre(StartsWith("flux_dev * kind 2: ")));
  EXPECT_THAT(warnings(text), IsEmpty()) << "each left out something";
}

TEST(Exclusions, OfAllCombinationsOfARejectedPairLeaveNoRow) {
  const Expansion expansion = expand_it(
      "name: m\nmodels: [flux_dev, llama31_8b]\ntasks: [mmlu]\nsettings: {seed: [0, 1]}\n"
      "exclude: [{model: flux_dev, seed: 0}, {model: flux_dev, seed: 1}]\n");
  EXPECT_THAT(expansion.cells, SizeIs(2));
  EXPECT_THAT(rows(expansion), IsEmpty());
}

TEST(Exclusions, OfComputationAreCountedOfRejectedPairsToo) {
  // int8 computes in bf16, fp16 in fp16: of 2 formats × 2 seeds, those that compute in bf16 are left out.
  const Expansion expansion = expand_it(
      "name: m\nmodels: [flux_dev]\ntasks: [mmlu]\nsettings: {dtype: [int8, fp16], seed: [0, 1]}\n"
      "exclude: [{compute_dtype: bf16}]\n");
  EXPECT_THAT(rows(expansion), ElementsAre(StartsWith("flux_dev * kind 2: ")));
}

TEST(Exclusions, OfRejectedTrainingsAreInNoRejectionOfTheirAdapters) {
  // The engine of old_fp32 does not train. Of 3 trainings one is left out; each of the other two would have had its
  // adapter evaluated with 2 seeds, of which one is left out.
  const Expansion expansion = expand_it(R"(
name: m
models: [old_fp32]
stages:
  tune: {kind: train, tasks: [sft], settings: {rank: [8, 16, 32]}, exclude: [{rank: 32, schedule: cosine}]}
  tuned: {adapter: tune, tasks: [mmlu], settings: {seed: [0, 1]}, exclude: [{seed: 1}]}
)");
  EXPECT_THAT(rows(expansion), ElementsAre(StartsWith("old_fp32 * engine 2: "), StartsWith("old_fp32 * adapter 2: ")));
}

TEST(Exclusions, OfTrainingsMeanWhatTheMatrixSaysAndWhatBecomesOfIt) {
  ExpandOptions options;
  options.train_defaults = [](const Model&, const Task&, Settings& settings) {
    if (*settings.integer("rank") > 64) settings.set("rank", std::int64_t{64});
    settings.set("alpha", static_cast<double>(*settings.integer("rank")));
    return std::vector<std::string>();
  };
  const std::string text = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings: {rank: [8, 64, 128]}\n";
  EXPECT_THAT(labels(expand_it(text + "exclude: [{rank: 128}]\n", options), {"rank"}),
              ElementsAre("llama31_8b sft rank=8", "llama31_8b sft rank=64"))
      << "as it is said";
  EXPECT_THAT(labels(expand_it(text + "exclude: [{alpha: 64}]\n", options), {"rank"}),
              ElementsAre("llama31_8b sft rank=8"))
      << "as it is completed";
}

TEST(Exclusions, ThatOthersCoverHaveLeftOutSomethingToo) {
  EXPECT_THAT(warnings("name: m\nmodels: [llama31_8b, tinyllama]\ntasks: [mmlu]\nsettings: {seed: [0, 1]}\n"
                       "exclude: [{seed: 1}, {model: tinyllama, seed: 1}]\n"),
              IsEmpty());
}

TEST(Exclusions, WithRejectionsAccountForEveryCombination) {
  // 9 models × 3 tasks × 3 formats × 3 seeds = 243. Left out: seed 2 (81); of the rest, mmlu in int8 (9 × 2 = 18); of
  // the rest falcon's two models with seed 0 (mmlu 2 formats, the other two 3: 2 × 8 = 16).
  const Expansion expansion = expand_it(
      "name: m\nmodels: all\ntasks: [mmlu, gsm8k, docvqa]\nsettings: {dtype: [bf16, fp16, int8], seed: [0, 1, 2]}\n"
      "exclude: [{seed: 2}, {task: mmlu, dtype: int8}, {model: {family: falcon}, seed: 0}]\n");
  EXPECT_EQ(static_cast<std::int64_t>(expansion.cells.size()) + rejected(expansion), 243 - 81 - 18 - 16);
  std::set<Digest> keys;
  for (const Cell& cell : expansion.cells) keys.insert(cell.key);
  EXPECT_EQ(keys.size(), expansion.cells.size());
}

TEST(Exclusions, ThatNoKindOfCellCanMeetAreErrors) {
  EXPECT_THAT(orch::test::problems("name: m\nmodels: [llama31_8b]\nexclude: [{rank: 8, shots: 5}]\nstages:\n  tune: "
                                   "{kind: train, tasks: [sft]}\n  base: {tasks: [mmlu]}\n",
                                   kCatalog),
              ElementsAre(StartsWith("3:11: no cell of this matrix has all of these settings")));
}
