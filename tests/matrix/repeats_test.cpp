// Cells that are asked for twice: where that is said, and why they are the same.
#include <gmock/gmock.h>

#include <set>

#include "matrix/expand.h"
#include "support/small_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::AllOf, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::Not, ::testing::SizeIs,
    ::testing::StartsWith;

namespace {

const Catalog kCatalog = orch::test::small_catalog();

Expansion expand_it(const std::string& text, const ExpandOptions& options = {}) {
  return orch::test::expanded(text, kCatalog, options);
}

std::vector<std::string> problems(const std::string& text, const ExpandOptions& options = {}) {
  return orch::test::problems(text, kCatalog, options);
}

/// Ranks are at most 512, and multiples of 8; training whole leaves them out.
ExpandOptions capped() {
  ExpandOptions options;
  options.train_defaults = [](const Model&, const Task&, Settings& settings) {
    std::vector<std::string> notes = {"dropout is 0.1"};
    settings.set("dropout", 0.1);
    const auto rank = settings.integer("rank");
    if (!rank) return notes;
    if (settings.truth("full").value_or(false)) {
      settings.erase("rank");
      notes.push_back("rank means nothing here");
    } else if (*rank > 512) {
      settings.set("rank", std::int64_t{512});
      notes.push_back("rank " + std::to_string(*rank) + " is capped at 512: half the smaller side");
    } else if (*rank % 8 != 0) {
      settings.set("rank", *rank / 8 * 8);
      notes.push_back("rank " + std::to_string(*rank) + " is rounded down to a multiple of 8");
    }
    return notes;
  };
  return options;
}

const std::string kTrain = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings:\n";

}  // namespace

TEST(Duplicates, WithinAStageAreErrorsThatShowBothSettings) {
  EXPECT_THAT(
      problems("name: m\nmodels: [llama31_8b]\ntasks: [bfcl]\nsettings:\n  batch: [1, 8]\n"),
      ElementsAre(StartsWith(
          "5:3: the same cell is asked for twice: llama31_8b × bfcl with batch=1 compute_dtype=bf16 dtype=bf16")));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [bfcl]\nsettings: {batch: [1, 8]}\n").at(0),
              HasSubstr("and llama31_8b × bfcl with batch=8 compute_dtype=bf16 dtype=bf16"));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [bfcl]\nsettings: {batch: [1, 8, 9]}\n").at(0),
              HasSubstr("says how a cell is run, not what it measures, and cannot be an axis (and 1 more such pair)"));
}

TEST(Duplicates, OfOneModelUnderTwoNamesAreErrors) {
  Catalog catalog = orch::test::small_catalog();
  Model twin = *catalog.models.find("llama31_8b");
  twin.name = "llama31_8b_twin";
  catalog.models.put(twin);
  EXPECT_THAT(orch::test::problems("name: m\ntasks: [mmlu]\nmodels:\n  - llama31_8b\n  - llama31_8b_twin\n", catalog),
              ElementsAre(StartsWith("5:5: the same cell is asked for twice: llama31_8b × mmlu")));
}

TEST(Duplicates, AcrossStagesAreOneCellAndCounted) {
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b]
stages:
  a: {tasks: [mmlu, gsm8k], settings: {seed: [0, 1]}}
  b: {tasks: [gsm8k, bfcl], settings: {seed: [1, 2]}}
)");
  EXPECT_THAT(expansion.cells, SizeIs(7));  // 4 + 4 − gsm8k with seed 1
  EXPECT_EQ(expansion.duplicates, 1);
  std::set<Digest> keys;
  for (const Cell& cell : expansion.cells) EXPECT_TRUE(keys.insert(cell.key).second);
}

TEST(Duplicates, AreRememberedForTheStageThatAskedLater) {
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b]
stages:
  a: {tasks: [mmlu, gsm8k]}
  b: {tasks: [gsm8k]}
  c: {tasks: [bfcl], after: [b]}
)");
  // Cells 0 and 1 are mmlu and gsm8k of a, stage 0; b is stage 1.
  EXPECT_THAT(expansion.also, ElementsAre(std::pair<std::uint32_t, std::uint32_t>(1, 1)));
}

TEST(Duplicates, ByCompletionStandAtTheSettingAndSayWhatBecameOfItAndWhy) {
  EXPECT_THAT(problems(kTrain + "  seed: [0, 1]\n  rank: [520, 65536]\n", capped()),
              ElementsAre("7:3: the same cell is asked for twice: llama31_8b × sft with rank=520 and rank=65536 both "
                          "give rank=512 (rank 520 is capped at 512: half the smaller side; rank 65536 is capped at "
                          "512: half the smaller side); give one of them (and 1 more such pair)"));
  EXPECT_THAT(problems(kTrain + "  rank: [16, 20]\n", capped()),
              ElementsAre("6:3: the same cell is asked for twice: llama31_8b × sft with rank=16 and rank=20 both give "
                          "rank=16 (rank 20 is rounded down to a multiple of 8); give one of them"));
}

TEST(Duplicates, OfASettingThatCompletionLeavesOutSaySo) {
  EXPECT_THAT(problems(kTrain + "  full: true\n  rank: [8, 16]\n", capped()),
              ElementsAre("7:3: the same cell is asked for twice: llama31_8b × sft with rank=8 and rank=16 give the "
                          "same, as it is left out (rank means nothing here); give one of them"));
}

TEST(Duplicates, StandWhereTheSettingIsSaid) {
  EXPECT_THAT(problems("name: m\nkind: train\ntasks: [sft]\nsettings: {rank: 8}\nmodels:\n  - {name: 'llama31*', rank: "
                       "[8, 16]}\n  - {name: llama31_8b, rank: [520, 65536]}\n",
                       capped()),
              ElementsAre(StartsWith("7:24: the same cell is asked for twice: llama31_8b × sft with rank=520")));
  EXPECT_THAT(problems("name: m\nsettings:\n  rank: [520, 65536]\nmodels: [llama31_8b]\nstages:\n  tune: {kind: "
                       "train, tasks: [sft]}\n",
                       capped()),
              ElementsAre(StartsWith("3:3: the same cell")))
      << "an inherited setting";
  Catalog catalog = orch::test::small_catalog();
  Category ranks;
  ranks.name = "RANKS";
  ranks.models = {"llama31_8b"};
  ranks.tasks = {"sft"};
  Diagnostics diagnostics;
  ranks.source.file = "catalog.yaml";
  ranks.settings.emplace("rank", *parse_yaml("\n\n  [520, 65536]", "catalog.yaml", diagnostics));
  catalog.categories.put(ranks);
  EXPECT_THAT(orch::test::problems("name: m\nkind: train\ncategories: [RANKS]\n", catalog, capped()),
              ElementsAre(StartsWith("3:3: the same cell")));
}

TEST(Duplicates, OfSeveralSettingsAreToldOfEach) {
  EXPECT_THAT(problems(kTrain + "  micro_batch: [1, 2]\n  rank: [520, 65536]\n", capped()),
              ElementsAre(AllOf(StartsWith("6:3: "), HasSubstr("'micro_batch' says how a cell is run")),
                          AllOf(StartsWith("7:3: "), HasSubstr("rank=520 and rank=65536"))));
}

TEST(Duplicates, WithinAStageAreErrorsAlsoWhereAnEarlierStageHasTheCell) {
  const std::string text = R"(
name: m
kind: train
models: [llama31_8b]
tasks: [sft]
stages:
  one: {settings: {rank: 512}}
  two: {settings: {rank: [520, 65536]}}
)";
  EXPECT_THAT(problems(text, capped()), ElementsAre(StartsWith("8:20: the same cell is asked for twice: llama31_8b × "
                                                               "sft with rank=520 and rank=65536 both give")));
  EXPECT_THAT(problems(R"(
name: m
models: [llama31_8b]
tasks: [mmlu]
stages:
  one: {settings: {batch: 8}}
  two: {settings: {batch: [1, 16]}}
)"),
              ElementsAre(AllOf(StartsWith("7:20: "), HasSubstr("batch=1 "), HasSubstr("batch=16 "),
                                Not(HasSubstr("batch=8 ")))));
}
