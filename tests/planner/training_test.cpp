// The settings of training against seed 003's tables and adjustments, and seed 002's hardware.
#include "planner/training.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/site.h"

namespace orch::planner {
namespace {

using testing::Contains, testing::HasSubstr;

struct Completed {
  matrix::Settings settings;
  std::vector<std::string> reasons;
};

Completed complete(const std::string& model, const std::string& task, const Cluster& cluster,
                   matrix::Settings given = {}) {
  const Catalog& catalog = test::shipped();
  const policy::Policy policy;
  const Site site{catalog, cluster, policy, {}};
  Completed completed{std::move(given), {}};
  completed.reasons =
      complete_training(*catalog.models.find(model), *catalog.tasks.find(task), completed.settings, site);
  return completed;
}

Completed complete(const std::string& model, const std::string& task, matrix::Settings given = {}) {
  return complete(model, task, test::h100s(), std::move(given));
}

TEST(Training, TheTableIsSeed003s) {
  const policy::Policy policy;
  const auto row = [&](SizeClass size) {
    const policy::AdapterRow it = policy.training.row(size);
    return std::tuple(it.rank, it.alpha, it.dropout, it.learning_rate, it.batch_size, it.accumulation);
  };
  EXPECT_EQ(row(SizeClass::kSmall), std::tuple(256, 64, 0.05, 4e-4, 16, 1));
  EXPECT_EQ(row(SizeClass::kMedium), std::tuple(512, 128, 0.1, 3e-4, 8, 2));
  EXPECT_EQ(row(SizeClass::kLarge), std::tuple(1024, 256, 0.15, 2e-4, 4, 4));
  EXPECT_EQ(row(SizeClass::kXLarge), std::tuple(2048, 512, 0.2, 1e-4, 2, 8));
}

TEST(Training, ASmallModelOnInstructionsGetsFortyPerCentMoreRankInMultiplesOfEight) {
  // 256 · 1.4 = 358.4, down to 352; half of the 4,096 × 4,096 layers is far above. 4e-4 · 1.2 = 4.8e-4.
  const Completed it = complete("llama1_7b", "sft_instruct");
  EXPECT_EQ(it.settings.integer("rank"), 352);
  EXPECT_EQ(it.settings.number("alpha"), 64);
  EXPECT_EQ(it.settings.number("learning_rate"), 4.8e-4);
  EXPECT_EQ(it.settings.number("dropout"), 0.05);
  EXPECT_EQ(it.settings.integer("batch_size"), 16);
  EXPECT_EQ(it.settings.integer("accumulation"), 1);
  EXPECT_EQ(it.settings.integer("epochs"), 1);
  EXPECT_EQ(it.settings.number("ema_decay"), 0.9999);
  EXPECT_EQ(it.settings.integer("sequence"), 2048);  // its context, below seed 003's 8,192
  EXPECT_THAT(it.reasons, Contains(HasSubstr("358.4, made 352")));
}

TEST(Training, Llama70BsRankUnderGrpoIsCappedByItsKAndVProjections) {
  // 2048 · 1.6 = 3276.8, down to 3272. K and V are 8,192 × 1,024 (8 heads of 128): half of 1,024 is 512.
  // alpha keeps its ratio: 512 · 512 / 3272 = 80.1. 1e-4 · 0.85 = 8.5e-5.
  const Completed it = complete("llama31_70b", "grpo_math");
  EXPECT_EQ(it.settings.integer("rank"), 512);
  EXPECT_EQ(it.settings.number("alpha"), 80);
  EXPECT_EQ(it.settings.number("learning_rate"), 8.5e-5);
  EXPECT_THAT(it.reasons, Contains(HasSubstr("3276.8, made 3272")));
  EXPECT_THAT(it.reasons, Contains(HasSubstr("capped at 512: half the smaller side")));
}

TEST(Training, AGivenRankIsHeldToTheSameBounds) {
  EXPECT_EQ(complete("llama31_70b", "sft_instruct", test::with("rank", std::int64_t{60})).settings.integer("rank"), 56);
  EXPECT_EQ(complete("llama31_70b", "sft_instruct", test::with("rank", std::int64_t{3})).settings.integer("rank"), 8);
  EXPECT_EQ(complete("llama31_70b", "sft_instruct", test::with("rank", std::int64_t{65536})).settings.integer("rank"),
            512);
  // No factor of the task on what the matrix says; alpha a quarter of it, as in every row of the table.
  const Completed it = complete("llama31_70b", "grpo_math", test::with("rank", std::int64_t{64}));
  EXPECT_EQ(it.settings.integer("rank"), 64);
  EXPECT_EQ(it.settings.number("alpha"), 16);
}

TEST(Training, AlphaFollowsFromTheRankThatIsUsedAndNotFromTheOneAskedFor) {
  // 12 and 15 are made 8, and a quarter of that is 2; 600 and 1,000 are both capped at 512, whose quarter is 128.
  for (const auto& [asked, rank, alpha] :
       {std::tuple(8, 8, 2.0), {12, 8, 2.0}, {15, 8, 2.0}, {600, 512, 128.0}, {1000, 512, 128.0}}) {
    const Completed it = complete("llama31_70b", "sft_instruct", test::with("rank", std::int64_t{asked}));
    EXPECT_EQ(it.settings.integer("rank"), rank) << asked;
    EXPECT_EQ(it.settings.number("alpha"), alpha) << asked;
  }
}

TEST(Training, TheTableIsThePolicys) {
  const Catalog& catalog = test::shipped();
  const Cluster cluster = test::h100s();
  policy::Policy policy;
  policy.training.sizes[1] = {160, 80, 0.3, 1e-3, 5, 6};  // Llama-7B is a medium model
  policy.training.sizes[0] = policy.training.sizes[1];
  policy.training.tasks = {{"instruct_text", {0.5, 2}}};
  policy.training.sequence = 1024;
  policy.training.ema_decay = 0.5;
  policy.training.full_rate = 0.25;
  const Site site{catalog, cluster, policy, {}};
  const auto completed = [&](matrix::Settings settings) {
    complete_training(*catalog.models.find("llama1_7b"), *catalog.tasks.find("sft_instruct"), settings, site);
    return settings;
  };
  const matrix::Settings settings = completed({});
  EXPECT_EQ(settings.integer("rank"), 80);  // half of 160
  EXPECT_EQ(settings.number("alpha"), 80);
  EXPECT_EQ(settings.number("dropout"), 0.3);
  EXPECT_EQ(settings.number("learning_rate"), 2e-3);
  EXPECT_EQ(settings.integer("batch_size"), 5);
  EXPECT_EQ(settings.integer("accumulation"), 6);
  EXPECT_EQ(settings.integer("sequence"), 1024);
  EXPECT_EQ(settings.number("ema_decay"), 0.5);
  EXPECT_EQ(completed(test::with("rank", std::int64_t{16})).number("alpha"), 8) << "the row's half of the rank";
  EXPECT_EQ(completed(test::with("full", true)).number("learning_rate"), 2.5e-4);
}

TEST(Training, WhatTheMatrixSaysStays) {
  matrix::Settings given;
  given.set("alpha", 7.0);
  given.set("learning_rate", 1e-5);
  given.set("batch_size", std::int64_t{3});
  given.set("steps", std::int64_t{10});
  const Completed it = complete("llama1_7b", "sft_instruct", given);
  EXPECT_EQ(it.settings.number("alpha"), 7.0);
  EXPECT_EQ(it.settings.number("learning_rate"), 1e-5);
  EXPECT_EQ(it.settings.integer("batch_size"), 3);
  EXPECT_FALSE(it.settings.has("epochs"));
}

TEST(Training, ARankThatFitsNoProfileIsCappedByMemory) {
  // One RTX 4090 of 24 GiB, Llama-7B: 85 % is 21.9e9 bytes, weights 13.5e9, activations and overhead about 2.9e9; each
  // rank adds 32 · (4 · 8192 + 3 · 15104) = 2.5M parameters of 22 bytes: about 100 ranks. Without an average of the
  // weights they have 18: about 120.
  const Cluster desk = test::cluster({test::partition("desk", "rtx4090", 1, 1)});
  const Completed it = complete("llama1_7b", "sft_instruct", desk);
  EXPECT_GT(complete("llama1_7b", "sft_instruct", desk, test::with("ema_decay", 0.0)).settings.integer("rank"),
            it.settings.integer("rank"));
  // What was capped by memory is then placed within the target.
  const policy::Policy policy;
  const auto sized =
      size(test::need_for(test::shipped(), "llama1_7b", "sft_instruct", it.settings, matrix::CellKind::kTrain),
           Site{test::shipped(), desk, policy, {}});
  ASSERT_TRUE(sized.ok()) << sized.error().what;
  EXPECT_LE(sized->chosen.utilisation, 0.85);
  EXPECT_GT(sized->chosen.utilisation, 0.82);
  const auto rank = it.settings.integer("rank").value_or(0);
  EXPECT_GE(rank, 80);
  EXPECT_LE(rank, 120);
  EXPECT_EQ(rank % 8, 0);
  EXPECT_THAT(it.reasons, Contains(HasSubstr("does not fit gpu_1")));
}

TEST(Training, AFullTrainingHasNoRank) {
  const Completed it = complete("tinyllama_1b", "lm_text", test::with("full", true));
  EXPECT_FALSE(it.settings.has("rank"));
  EXPECT_FALSE(it.settings.has("alpha"));
  EXPECT_EQ(it.settings.number("learning_rate"), 4e-5);
}

TEST(Training, AnImageModelGetsItsRowWithoutASequence) {
  // SDXL is a small model: 256 · 1.5 = 384; 4e-4 · 1.15 = 4.6e-4.
  const Completed it = complete("sdxl", "image_lora_sdxl");
  EXPECT_EQ(it.settings.integer("rank"), 384);
  EXPECT_EQ(it.settings.number("learning_rate"), 4.6e-4);
  EXPECT_FALSE(it.settings.has("sequence"));
}

TEST(Training, ASequenceBeyondTheContextIsCut) {
  const Completed it = complete("llama1_7b", "sft_instruct", test::with("sequence", std::int64_t{100000}));
  EXPECT_EQ(it.settings.integer("sequence"), 2048);
}

TEST(Training, CompletingTwiceChangesNothing) {
  const Completed once = complete("llama31_70b", "grpo_math");
  const Completed twice = complete("llama31_70b", "grpo_math", once.settings);
  EXPECT_EQ(twice.settings, once.settings);
}

TEST(Training, AnH100TrainsInBf16WithoutLossScaling) {
  const HardwareChoice it = hardware_choice(*test::shipped().gpus.find("h100_80gb"));
  EXPECT_EQ(it.compute, DType::kBf16);
  EXPECT_FALSE(it.loss_scaling);
  EXPECT_TRUE(it.flash_attention);
  EXPECT_EQ(it.loader_workers, 8);
}

TEST(Training, AV100TrainsInFp16WithLossScaling) {
  const HardwareChoice it = hardware_choice(*test::shipped().gpus.find("v100_32gb"));
  EXPECT_EQ(it.compute, DType::kFp16);
  EXPECT_TRUE(it.loss_scaling);
  EXPECT_FALSE(it.flash_attention);
}

TEST(Training, AGpuWithoutEitherTrainsInFp32) {
  Gpu gpu;
  gpu.name = "old";
  gpu.flops[DType::kFp32] = 1e12;
  const HardwareChoice it = hardware_choice(gpu);
  EXPECT_EQ(it.compute, DType::kFp32);
  EXPECT_FALSE(it.loss_scaling);
}

}  // namespace
}  // namespace orch::planner
