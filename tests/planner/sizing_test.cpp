// Where models are placed, against facts from outside: which shapes are known to hold them, and which cuts are legal.
#include "planner/sizing.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/site.h"

namespace orch::planner {
namespace {

using matrix::CellKind;
using testing::AnyOf, testing::Contains, testing::HasSubstr, testing::Not;

/// A catalog, a cluster and a policy that outlive the Site made of them.
struct World {
  Catalog catalog = test::shipped();
  Cluster cluster = test::h100s();
  policy::Policy policy;
  Submit submit;
  Site site() const { return {catalog, cluster, policy, submit}; }

  Result<Sizing> size_of(const Need& need) const { return size(need, site()); }
  Sizing eval(const std::string& model, matrix::Settings settings = {}, const std::string& task = "mmlu") const {
    const auto sized = size_of(test::need_for(catalog, model, task, std::move(settings)));
    EXPECT_TRUE(sized.ok()) << sized.error().what;
    return sized.ok() ? *sized : Sizing{};
  }
  std::string error(const std::string& model, matrix::Settings settings = {}) const {
    const auto sized = size_of(test::need_for(catalog, model, "mmlu", std::move(settings)));
    EXPECT_FALSE(sized.ok());
    return sized.ok() ? "" : sized.error().what;
  }
  std::string profile(const Sizing& sizing) const { return catalog.profiles[sizing.chosen.profile].name; }
};

Need training(const Catalog& catalog, const std::string& model, std::int64_t rank, std::int64_t sequence,
              std::int64_t batch) {
  matrix::Settings settings;
  settings.set("rank", rank);
  settings.set("sequence", sequence);
  settings.set("batch_size", batch);
  return test::need_for(catalog, model, "sft_instruct", settings, CellKind::kTrain);
}

TEST(Sizing, DeepSeekV3InFp8TakesSixteenGpusOnTwoNodes) {
  const World world;
  const Sizing it = world.eval("deepseek_v3");
  EXPECT_EQ(it.chosen.gpus, 16);
  EXPECT_EQ(it.chosen.nodes, 2);
  EXPECT_LE(it.chosen.layout.tp, 8);
  EXPECT_EQ(world.profile(it), "two_node_moe");
  EXPECT_THAT(it.refused, Contains(HasSubstr("ultra_large: tp 8 needs")));
}

TEST(Sizing, WhatIsCrampedAndWhatALargerPlaceMustBeWorthIsThePolicys) {
  World world;
  ASSERT_EQ(world.eval("llama2_70b").chosen.gpus, 4) << "two hold it with four sequences";
  world.policy.planning.efficiency_worth = 100;
  EXPECT_EQ(world.eval("llama2_70b").chosen.gpus, 2);
  EXPECT_THAT(world.eval("llama2_7b").reasons, Not(Contains(HasSubstr("although"))));
  world.policy.planning.batch_least = 256;
  EXPECT_THAT(world.eval("llama2_7b").reasons, Contains(HasSubstr("although there is room for only")));
  world.policy.planning.batch_least = 8;
  world.policy.planning.rate_least = 5000;
  EXPECT_THAT(world.eval("llama2_7b").reasons, Contains(HasSubstr("tokens/s, below 5000")));
}

TEST(Sizing, HowManyGpusAProfileOfTheModelsOwnKindIsWorthIsThePolicys) {
  World world;
  ASSERT_EQ(world.profile(world.eval("dbrx_instruct")), "moe") << "six GPUs, where four would do";
  world.policy.planning.own_use_worth = 1.5;
  EXPECT_EQ(world.eval("dbrx_instruct").chosen.gpus, 4);
  world.policy.planning.own_use_worth = 1.6;
  EXPECT_EQ(world.eval("dbrx_instruct").chosen.gpus, 6);
}

TEST(Sizing, Falcon180BInBf16FitsOneNodeOfEightGpus) {
  const World world;
  const Sizing it = world.eval("falcon_180b");
  EXPECT_EQ(it.chosen.gpus, 8);
  EXPECT_EQ(it.chosen.nodes, 1);
}

TEST(Sizing, Llama70BIn16BitsTakesFourGpusBecauseTwoLeaveNoRoomForABatch) {
  const World world;
  const Sizing it = world.eval("llama2_70b");
  EXPECT_EQ(it.chosen.gpus, 4);
  EXPECT_EQ(it.chosen.layout, (Layout{4, 1, 1}));
  EXPECT_THAT(it.reasons, Contains(HasSubstr("gpu_2 with 2 GPUs would do, but there is room for only")));
}

TEST(Sizing, SixGpusFor64HeadsAreTwoTimesThree) {
  const World world;
  Need need = test::need_for(world.catalog, "llama2_70b", "mmlu");
  need.gpus = 6;
  const auto sized = world.size_of(need);
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  EXPECT_EQ(sized->chosen.layout, (Layout{2, 3, 1}));
  EXPECT_THAT(sized->refused, Contains(HasSubstr("moe: tp 6: 64 heads do not divide by 6")));
}

TEST(Sizing, TheSixGpusThatWereNotTakenAreShownWithTheirEstimateAndReason) {
  const World world;
  const Sizing it = world.eval("llama2_70b");
  EXPECT_THAT(it.refused, Contains(HasSubstr("tp 6: 64 heads do not divide by 6")));
  const auto six =
      std::find_if(it.others.begin(), it.others.end(), [](const RunnerUp& other) { return other.placement.gpus == 6; });
  ASSERT_NE(six, it.others.end());
  EXPECT_EQ(six->placement.layout, (Layout{2, 3, 1}));
  EXPECT_THAT(six->why, HasSubstr("× the time of tp 4 on 4 GPUs"));
}

TEST(Sizing, LargeMixturesOfExpertsTakeTheirOwnProfileOfSix) {
  const World world;
  for (const char* name : {"mixtral_8x22b", "dbrx_instruct"}) {
    const Sizing it = world.eval(name);
    EXPECT_EQ(world.profile(it), "moe") << name;
    EXPECT_EQ(it.chosen.layout, (Layout{2, 3, 1})) << name;
  }
  // What two GPUs hold does not take six, whatever the profile is for.
  EXPECT_EQ(world.eval("mixtral_8x7b").chosen.gpus, 2);
}

TEST(Sizing, AVisionModelTakesItsOwnProfileAndKeepsItsTowerWholeOnEachGpu) {
  const World world;
  const Sizing it = world.eval("internvl2_llama3_76b", {}, "docvqa");
  EXPECT_EQ(world.profile(it), "multimodal");
  EXPECT_GT(it.chosen.layout.tp, 1);
  EXPECT_THAT(it.reasons, Contains(HasSubstr("has 25 heads, which do not divide by tp 4: each GPU has all of it")));
}

TEST(Sizing, APlainTextModelNeverTakesAProfileForAnotherKind) {
  const World world;
  for (const Model& model : world.catalog.models.all()) {
    if (model.is_moe() || model.kind != ModelKind::kText) continue;
    EXPECT_EQ(world.catalog.profiles[world.eval(model.name).chosen.profile].use, ProfileUse::kAny) << model.name;
  }
}

TEST(Sizing, ModelsOfSevenBillionTakeOneGpu) {
  const World world;
  for (const char* name : {"llama2_7b", "mistral_7b", "qwen25_7b", "falcon_7b", "deepseek_llm_7b", "gemma_7b"})
    EXPECT_EQ(world.eval(name).chosen.gpus, 1) << name;
}

TEST(Sizing, EveryPlacementOfEveryModelIsLegalAndWithinMemory) {
  const World world;
  for (const auto prefer : {policy::Planning::Prefer::kSmallest, policy::Planning::Prefer::kFastest}) {
    World preferring = world;
    preferring.policy.planning.prefer = prefer;
    for (const Model& model : world.catalog.models.all()) {
      const Sizing it = preferring.eval(model.name);
      std::vector<Placement> all = {it.chosen};
      for (const RunnerUp& other : it.others) all.push_back(other.placement);
      for (const Placement& p : all) {
        EXPECT_EQ(p.gpus, p.layout.tp * p.layout.pp * p.layout.dp) << model.name;
        EXPECT_LE(p.memory.total(), 0.90 * 81559 * kMiB) << model.name;
        EXPECT_LE(p.utilisation, 0.90) << model.name;
        EXPECT_GE(p.batch, 1) << model.name;
        if (!model.decoder) continue;
        EXPECT_EQ(model.decoder->heads % p.layout.tp, 0) << model.name;
        EXPECT_LE(p.layout.tp, 8) << model.name;
        if (prefer == policy::Planning::Prefer::kSmallest) EXPECT_EQ(p.layout.dp, 1) << model.name;
        EXPECT_LE(p.layout.pp, model.decoder->layers) << model.name;
        if (model.decoder->ffn > 0) EXPECT_EQ(model.decoder->ffn % p.layout.tp, 0) << model.name;
      }
    }
  }
}

TEST(Sizing, BatchesFillMemoryToTheTargetAndNotBeyond) {
  const World world;
  // Llama-2-70B on four H100s leaves tens of GiB: one sequence is 0.31 GiB a GPU, so the target is met within 1 %.
  const Sizing it = world.eval("llama2_70b");
  EXPECT_GT(it.chosen.utilisation, 0.84);
  EXPECT_LE(it.chosen.utilisation, 0.85);
}

TEST(Sizing, AGivenBatchIsKeptAndAnImpossibleOneRefused) {
  const World world;
  EXPECT_EQ(world.eval("llama2_7b", test::with("batch", std::int64_t{3})).chosen.batch, 3);
  // 65,536 sequences of 4,096 tokens at 0.5 MiB a token are 128 TiB.
  EXPECT_THAT(world.error("llama2_7b", test::with("batch", std::int64_t{65536})), HasSubstr("llama2_7b"));
}

TEST(Sizing, SpeedIsPreferredOnlyWithinANode) {
  World world;
  world.policy.planning.prefer = policy::Planning::Prefer::kFastest;
  EXPECT_EQ(world.eval("llama2_70b").chosen.gpus, 8);
  EXPECT_EQ(world.eval("tinyllama_1b").chosen.nodes, 1);
  EXPECT_EQ(world.eval("deepseek_v3").chosen.gpus, 16);
  // Nothing doubles its speed by more than two with each doubling of GPUs.
  world.policy.planning.speedup_worth = 1.5;
  EXPECT_EQ(world.eval("llama32_1b").chosen.gpus, 1);
}

TEST(Sizing, SmallModelsShareAGpuWherePartsCanBeHad) {
  World world;
  EXPECT_EQ(world.eval("tinyllama_1b").chosen.share, 1);
  world.cluster.partitions[0].shares_gpus = true;
  const Sizing tiny = world.eval("tinyllama_1b");
  EXPECT_EQ(tiny.chosen.gpus, 1);
  EXPECT_EQ(tiny.chosen.share, 0.125);
  EXPECT_LE(tiny.chosen.memory.total(), tiny.chosen.share * 0.85 * 81559 * kMiB);
  // 26 GB of weights are more than a quarter, and with a batch more than half.
  EXPECT_EQ(world.eval("llama2_13b").chosen.share, 1);
}

TEST(Sizing, ALaptopOfSixGigabytesRunsTinyLlamaAndSaysWhyNot70B) {
  World world;
  Partition laptop = test::partition("desk", "rtx4050_laptop_6gb", 1, 1);
  laptop.cpus_per_node = 8;
  laptop.memory_per_node = 16 * kGiB;
  world.cluster = test::cluster({laptop});
  // No profile has all that it asks for there: the job gets what the node has.
  EXPECT_EQ(world.profile(world.eval("tinyllama_1b")), "gpu_1");
  world.cluster.partitions[0].name = "local";  // where the catalog has a profile of 12 GiB
  EXPECT_EQ(world.profile(world.eval("tinyllama_1b")), "laptop");
  const std::string why = world.error("llama2_70b");
  EXPECT_THAT(why, HasSubstr("llama2_70b in fp16"));
  EXPECT_THAT(why, HasSubstr("the largest shape that was tried, laptop on local (1 GPU of 6 GiB)"));
  EXPECT_THAT(why, HasSubstr("dtype fp8"));
}

TEST(Sizing, WithoutASecondNodeDeepSeekV3IsRefusedWithWhatItLacks) {
  World world;
  world.cluster = test::cluster({test::partition("gpu", "h100_80gb", 1, 8)});
  const std::string why = world.error("deepseek_v3");
  EXPECT_THAT(why, HasSubstr("ultra_large on gpu (8 GPUs of 79.6 GiB)"));
  EXPECT_THAT(why, HasSubstr("more than the 71.7 GiB that may be used"));
}

TEST(Sizing, WhatWasToComputeInBf16IsNeverComputedInFp16) {
  World world;
  world.cluster = test::cluster({test::partition("old", "v100_32gb", 4, 8)});
  EXPECT_THAT(world.error("mistral_7b", test::with("dtype", std::string("bf16"))),
              HasSubstr("v100_32gb does not compute in bf16"));
  EXPECT_EQ(world.eval("mistral_7b", test::with("dtype", std::string("fp16"))).chosen.gpus, 1);
  EXPECT_GE(world.eval("mistral_7b", test::with("dtype", std::string("fp32"))).chosen.gpus, 1);
  EXPECT_THAT(world.error("mistral_7b", test::with("dtype", std::string("fp8"))), HasSubstr("v100_32gb"));
}

TEST(Sizing, Fp8OnAnA100IsKeptInFp8AndWidened) {
  World world;
  world.cluster = test::cluster({test::partition("a100", "a100_80gb", 4, 8)});
  const Sizing it = world.eval("llama31_70b_fp8");
  EXPECT_THAT(it.reasons, Contains(HasSubstr("weights are kept in fp8 and widened to bf16")));
  // 70.6e9 bytes of weights over the GPUs, embeddings and head in 16 bits.
  EXPECT_LT(it.chosen.memory.weights * it.chosen.gpus, 80e9);
}

TEST(Sizing, Fp8ArithmeticIsAskedForAndNeedsAGpuThatHasIt) {
  World world;
  matrix::Settings asked = test::with("compute_dtype", std::string("fp8"));
  asked.set("dtype", std::string("fp8"));
  EXPECT_TRUE(world.eval("llama31_70b_fp8", asked).chosen.gpus > 0);  // the h100 computes in it
  world.cluster = test::cluster({test::partition("a100", "a100_80gb", 4, 8)});
  EXPECT_THAT(world.error("llama31_70b_fp8", asked), HasSubstr("a100_80gb does not compute in fp8"));
}

TEST(Sizing, TheMatrixPartitionIsTheOnlyOne) {
  World world;
  world.cluster = test::cluster({test::partition("a", "a100_80gb", 4, 8), test::partition("h", "h100_80gb", 4, 8)});
  world.submit.partition = "h";
  EXPECT_EQ(world.eval("llama2_7b").chosen.partition, 1u);
  world.submit.partition = "a";
  EXPECT_EQ(world.eval("llama2_7b").chosen.partition, 0u);
  world.submit.partition = "x";
  EXPECT_THAT(world.error("llama2_7b"), HasSubstr("no partition 'x'"));
}

TEST(Sizing, OfEqualGpusTheFasterIsTaken) {
  World world;
  world.cluster = test::cluster({test::partition("a", "a100_80gb", 4, 8), test::partition("h", "h100_80gb", 4, 8)});
  EXPECT_EQ(world.eval("llama2_7b").chosen.partition, 1u);
}

TEST(Sizing, LoadingTakesTheWeightsOverTheNodesBandwidthAndAStart) {
  World world;
  world.cluster.partitions[0].load_bandwidth = 1e9;
  // 13.48e9 bytes at 1 GB/s and 30 s.
  EXPECT_NEAR(world.eval("llama2_7b").chosen.load_seconds, 43.5, 0.1);
  world.cluster.partitions[0].load_bandwidth = 0;  // 2 GB/s
  EXPECT_NEAR(world.eval("llama2_7b").chosen.load_seconds, 36.7, 0.1);
}

TEST(Sizing, CellsOfDifferentTaskShotsSeedAndLimitShareANeed) {
  const World world;
  const Need base = test::need_for(world.catalog, "llama2_70b", "mmlu");
  for (const char* task : {"gsm8k", "arc_challenge", "humaneval", "hellaswag", "piqa"})
    EXPECT_EQ(test::need_for(world.catalog, "llama2_70b", task), base) << task;
  for (const char* setting : {"seed", "limit", "shots"})
    EXPECT_EQ(test::need_for(world.catalog, "llama2_70b", "mmlu", test::with(setting, std::int64_t{3})), base)
        << setting;
  EXPECT_NE(test::need_for(world.catalog, "llama2_70b", "mmlu", test::with("dtype", std::string("fp8"))), base);
  EXPECT_NE(test::need_for(world.catalog, "llama2_70b", "mmlu", test::with("kv_dtype", std::string("fp8"))), base);
}

TEST(Sizing, ANeedIsNeverLongerThanTheContext) {
  const World world;
  for (const Model& model : world.catalog.models.all()) {
    const Need need = test::need_for(world.catalog, model.name, "mmlu", test::with("shots", std::int64_t{100}));
    if (model.decoder) EXPECT_LE(need.tokens, model.context) << model.name;
  }
  // 100 shots of 98 tokens and a question are beyond 8,192.
  EXPECT_EQ(test::need_for(world.catalog, "llama31_8b", "mmlu", test::with("shots", std::int64_t{100})).tokens, 16384);
}

TEST(Sizing, AnAdapterIsPartOfTheNeedOfItsEvaluation) {
  const World world;
  test::OneCell one = test::one_cell(world.catalog, CellKind::kTrain, "llama2_7b", "sft_instruct",
                                     test::with("rank", std::int64_t{64}));
  matrix::Cell eval = one.cell();
  eval.kind = CellKind::kEval;
  eval.task = *world.catalog.tasks.index_of("mmlu");
  eval.settings = 1;
  eval.depends = 0;
  one.expansion.settings.emplace_back();
  one.expansion.cells.push_back(eval);
  const Need need = need_of(one.cell(), one.expansion, world.catalog);
  EXPECT_EQ(need.rank, 64);
  const auto sized = world.size_of(need);
  ASSERT_TRUE(sized.ok());
  // 2.4986M parameters a rank (see training_test), 64 ranks, 2 bytes: 319.8 MB
  EXPECT_NEAR(sized->chosen.memory.adapter, 319.8e6, 1e6);
  one.expansion.settings[0].set("full", true);
  EXPECT_EQ(need_of(one.cell(), one.expansion, world.catalog).weights_of, 0u);
}

TEST(Sizing, AnAdapterOnSeveralGpusCountsAsEachOfThemHoldsIt) {
  // As in memory_test: of Llama-65B's adapters the unsplit side is whole on every rank.
  const World world;
  Need need = test::need_for(world.catalog, "llama1_65b", "mmlu");
  need.rank = 1432;
  const auto sized = world.size_of(need);
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  const Layout layout = sized->chosen.layout;
  ASSERT_GT(layout.tp, 1);
  const double layers = std::ceil(80.0 / layout.pp);
  EXPECT_DOUBLE_EQ(sized->chosen.memory.adapter,
                   layers * 1432 * 2 * (4 * (8192 + 8192.0 / layout.tp) + 3 * (8192 + 22016.0 / layout.tp)));
}

TEST(Sizing, ATrainingThatAveragesItsWeightsHasRoomForThem) {
  const World world;
  const auto average = [&](double decay) {
    matrix::Settings settings;
    settings.set("rank", std::int64_t{64});
    settings.set("sequence", std::int64_t{2048});
    settings.set("ema_decay", decay);
    const auto sized =
        world.size_of(test::need_for(world.catalog, "llama2_7b", "sft_instruct", settings, CellKind::kTrain));
    EXPECT_TRUE(sized.ok());
    return sized.ok() ? sized->chosen.memory.average : -1;
  };
  EXPECT_EQ(average(0), 0);
  EXPECT_EQ(average(0.9999), 4.0 * 4 * 39'976'960);  // PEFT's count for rank 16, four times
}

TEST(Sizing, TheMicroBatchDividesTheGlobalOneAndFits) {
  const World world;
  const auto sized = world.size_of(training(world.catalog, "llama2_7b", 64, 2048, 16));
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  EXPECT_EQ(sized->chosen.gpus, 1);
  EXPECT_EQ(16 % sized->chosen.batch, 0);
  EXPECT_FALSE(sized->chosen.checkpointing);
  // Three does not divide by a power of two but 1.
  const auto odd = world.size_of(training(world.catalog, "llama2_7b", 64, 2048, 3));
  ASSERT_TRUE(odd.ok());
  EXPECT_EQ(odd->chosen.batch, 1);
}

TEST(Sizing, ActivationsAreComputedAgainOnlyWhereTheyDoNotFit) {
  World world;
  world.cluster = test::cluster({test::partition("gpu", "h100_80gb", 1, 1)});
  // One sequence of 32,768 tokens keeps about 34 · 32768 · 4096 · 32 bytes: 136 GiB. Its inputs alone are 8 GiB.
  const auto sized = world.size_of(training(world.catalog, "mistral_7b", 16, 32768, 1));
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  EXPECT_TRUE(sized->chosen.checkpointing);
  EXPECT_THAT(sized->reasons, Contains(HasSubstr("checkpointing")));
  EXPECT_THAT(sized->reasons, Contains(HasSubstr("bf16: h100_80gb computes it")));
  EXPECT_THAT(sized->reasons, Contains(HasSubstr("8 loader workers")));
}

TEST(Sizing, ATrainingOfTheNativeEngineHasNoStagesAndNoCopiesOfKvHeads) {
  const World world;
  int placed = 0, refused = 0;
  for (const Model& model : world.catalog.models.all()) {
    if (!model.decoder || model.kind != ModelKind::kText) continue;
    Need need = training(world.catalog, model.name, 16, 2048, 16);
    need.engine = Engine::kNative;
    const auto sized = world.size_of(need);
    refused += !sized.ok();
    if (!sized.ok()) continue;
    ++placed;
    std::vector<Placement> all{sized->chosen};
    for (const RunnerUp& other : sized->others) all.push_back(other.placement);
    for (const Placement& place : all) {
      EXPECT_EQ(place.layout.pp, 1) << model.name;
      if (!model.decoder->latent) EXPECT_EQ(model.decoder->kv_heads % place.layout.tp, 0) << model.name;
    }
  }
  EXPECT_GT(placed, 20);
  EXPECT_GT(refused, 0) << "some models are larger than a node";
}

TEST(Sizing, ATrainingIsCutAndKeepsItsActivationsAsTheSettingsSay) {
  const World world;
  Need need = training(world.catalog, "tinyllama_1b", 16, 2048, 16);
  need.engine = Engine::kNative;
  EXPECT_FALSE(world.size_of(need)->chosen.checkpointing);
  need.checkpointing = true;
  const Sizing again = *world.size_of(need);
  EXPECT_TRUE(again.chosen.checkpointing);
  EXPECT_THAT(again.reasons, Contains(HasSubstr("(checkpointing): as the settings ask")));
  need.tensor = 2;
  EXPECT_EQ(world.size_of(need)->chosen.layout.tp, 2);
  need.tensor = 3;
  EXPECT_FALSE(world.size_of(need).ok()) << "4 KV heads";
}

TEST(Sizing, TrainingEveryParameterOf7BDoesNotFitOneGpu) {
  const World world;
  matrix::Settings settings;
  settings.set("full", true);
  settings.set("sequence", std::int64_t{2048});
  const auto sized = world.size_of(test::need_for(world.catalog, "llama2_7b", "lm_text", settings, CellKind::kTrain));
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  // Weights, master, gradients and two states: at least 16 bytes of 6.7B parameters, 108 GB.
  EXPECT_GE(sized->chosen.gpus, 2);
}

TEST(Sizing, AModelThatIsNotDescribedGoesByItsWeights) {
  const World world;
  // Evo2-40B: 80 GB in 16 bits and a fifth more: two GPUs.
  const Sizing it = world.eval("evo2_40b");
  EXPECT_EQ(it.chosen.gpus, 2);
  EXPECT_THAT(it.reasons, Contains(HasSubstr("architecture is not described")));
  EXPECT_EQ(world.eval("sdxl").chosen.gpus, 1);
}

TEST(Sizing, ACommandGetsTheGpusAndTheShareItDeclares) {
  World world;
  matrix::Settings settings;
  settings.set("gpu_memory", std::int64_t{10} << 30);
  const auto command = [&] {
    const auto sized = world.size_of(test::need_for(world.catalog, "", "", settings, CellKind::kCommand));
    EXPECT_TRUE(sized.ok()) << sized.error().what;
    return sized.ok() ? sized->chosen : Placement{};
  };
  EXPECT_EQ(command().gpus, 1);
  EXPECT_EQ(command().share, 1);
  world.cluster.partitions[0].shares_gpus = true;
  EXPECT_EQ(command().share, 0.25);  // 10 of 79.6 GiB is more than an eighth
  settings.set("gpus", std::int64_t{8});
  EXPECT_EQ(command().gpus, 8);
  EXPECT_EQ(command().share, 1);
  settings.set("gpus", std::int64_t{3});
  EXPECT_EQ(command().gpus, 3);
}

TEST(Sizing, DeclaredMemoryFillsNoGpuBeyondWhatMayBeUsed) {
  // 90 % of 79.65 GiB are 71.68: 72 GiB are refused, and two commands of 36 do not share, but two of 35 do.
  World world;
  world.cluster.partitions[0].shares_gpus = true;
  const auto sized = [&](std::int64_t gib) {
    return world.size_of(
        test::need_for(world.catalog, "", "", test::with("gpu_memory", gib << 30), CellKind::kCommand));
  };
  ASSERT_TRUE(sized(35).ok());
  EXPECT_EQ(sized(35)->chosen.share, 0.5);
  ASSERT_TRUE(sized(36).ok());
  EXPECT_EQ(sized(36)->chosen.share, 1);
  EXPECT_TRUE(sized(71).ok());
  ASSERT_FALSE(sized(72).ok());
  EXPECT_THAT(sized(72).error().what, HasSubstr("needs 72 GiB of each"));
}

TEST(Sizing, MoreGpusThanAnyProfileHasAreRefusedByName) {
  const World world;
  const auto sized =
      world.size_of(test::need_for(world.catalog, "", "", test::with("gpus", std::int64_t{65536}), CellKind::kCommand));
  ASSERT_FALSE(sized.ok());
  EXPECT_THAT(sized.error().what, HasSubstr("65,536 GPUs"));
}

TEST(Sizing, ABenchmarkTakesWholeGpusInTheNumberItMeasures) {
  World world;
  world.cluster.partitions[0].shares_gpus = true;
  for (const std::int64_t gpus : {1, 2, 4, 8, 16}) {
    const auto sized =
        world.size_of(test::need_for(world.catalog, "", "resnet50", test::with("gpus", gpus), CellKind::kBench));
    ASSERT_TRUE(sized.ok()) << sized.error().what;
    EXPECT_EQ(sized->chosen.gpus, gpus);
    EXPECT_EQ(sized->chosen.layout, (Layout{1, 1, static_cast<int>(gpus)}));
    EXPECT_EQ(sized->chosen.share, 1);
  }
}

TEST(Sizing, ASiteWithoutAnythingIsAnErrorAndNoCrash) {
  World world;
  world.cluster.partitions.clear();
  EXPECT_THAT(world.error("llama2_7b"), HasSubstr("no profile can run llama2_7b"));
  world.cluster = test::cluster({test::partition("gpu", "unknown", 1, 8)});
  EXPECT_THAT(world.error("llama2_7b"), HasSubstr("nothing is known of its GPU 'unknown'"));
}

TEST(Sizing, HostileNumbersGiveAnAnswerOrAnError) {
  World world;
  world.policy.planning.memory_high = -1;
  world.policy.planning.memory_most = 0;
  Profile huge;
  huge.name = "huge";
  huge.nodes = 2'000'000'000;
  huge.gpus_per_node = 2'000'000'000;
  world.catalog.profiles.put(huge);
  world.cluster.partitions[0].nodes = 2'000'000'000;
  world.cluster.partitions[0].gpus_per_node = 2'000'000'000;
  world.cluster.partitions[0].network = 1e-300;
  EXPECT_EQ(world.eval("llama2_7b").chosen.gpus, 1);
  Need need = training(world.catalog, "llama2_7b", 1'000'000'000, 10'000'000, 1'000'000);
  EXPECT_FALSE(world.size_of(need).ok());
  need.model = 4'000'000'000;
  EXPECT_FALSE(world.size_of(need).ok());
}

TEST(Sizing, TheSameNeedGivesTheSameAnswer) {
  const World world;
  const Sizing one = world.eval("mixtral_8x22b");
  const Sizing two = world.eval("mixtral_8x22b");
  EXPECT_EQ(one.reasons, two.reasons);
  EXPECT_EQ(one.refused, two.refused);
  EXPECT_EQ(one.others.size(), two.others.size());
}

}  // namespace
}  // namespace orch::planner
