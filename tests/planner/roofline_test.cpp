// Estimates against sums done by hand from data sheets: H100 SXM 989 TFLOP/s in 16 bits, 3.35 TB/s, 450 GB/s to each
// other GPU; Llama-2-70B has 68.98B parameters, 80 layers of hidden size 8,192, a vocabulary of 32,000, and
// 1.25 GiB of KV cache for 4,096 tokens.
#include "planner/roofline.h"

#include <cmath>

#include <gtest/gtest.h>

#include "planner/site.h"

namespace orch::planner {
namespace {

const Model& model(const std::string& name) { return *test::shipped().models.find(name); }

Machine machine(const std::string& gpu, DType weights = DType::kBf16) {
  return machine_of(*test::shipped().gpus.find(gpu), test::partition("gpu", gpu, 4, 8), 8, weights);
}

TEST(Roofline, AnAllReduceOfTwoSendsEachByteOnce) {
  // 2 · (2 − 1) / 2 · 315 GB over 0.7 · 450 GB/s is one second; then the latency of 10 µs.
  EXPECT_NEAR(all_reduce_seconds(315e9, 2, 450e9), 1.00001, 1e-9);
  EXPECT_EQ(all_reduce_seconds(315e9, 1, 450e9), 0);
}

TEST(Roofline, TwoTokensHitFewerExpertsThanTwiceWhatOneHits) {
  // Two of eight experts a token: 1/4 for one token, 1 − (3/4)² = 7/16 for two.
  EXPECT_DOUBLE_EQ(experts_hit(0.25, 1), 0.25);
  EXPECT_DOUBLE_EQ(experts_hit(0.25, 2), 0.4375);
  EXPECT_EQ(experts_hit(0, 100), 0);
}

TEST(Roofline, ADecodeStepOfLlama70BIsBoundByReadingItsWeights) {
  const Costs costs = costs_of(model("llama2_70b"), DType::kFp16, DType::kFp16);
  // (68.98e9 − 0.26e9 of the input embedding) · 2 B / 4 GPUs / (0.7 · 3.35e12 B/s) = 14.65 ms; the cache 1.342e9 B / 4
  // is 0.14 ms; 160 all-reduces of 10.08 µs are 1.61 ms; the step's overhead 0.5 ms.
  const double seconds = decode_step_seconds(costs, cut_of(costs, {4, 1, 1}), machine("h100_80gb"), 1, 4096);
  EXPECT_NEAR(seconds, 16.91e-3, 0.2e-3);
}

TEST(Roofline, DecodingReadsTheHeadButNotTheInputEmbedding) {
  const Costs costs = costs_of(model("llama3_8b"), DType::kBf16, DType::kBf16);
  // (8.030e9 − 128,256 · 4,096) · 2 B / (0.7 · 3.35e12 B/s) = 6.40 ms, and the step's overhead of 0.5 ms
  const double seconds = decode_step_seconds(costs, cut_of(costs, {1, 1, 1}), machine("h100_80gb"), 1, 1);
  EXPECT_NEAR(seconds, 6.90e-3, 0.05e-3);
}

TEST(Roofline, PrefillOfLlama7BIsBoundByArithmetic) {
  const Costs costs = costs_of(model("llama2_7b"), DType::kFp16, DType::kFp16);
  // 2 · (6.738e9 − 0.262e9 of embedding and head) · 8,192 / (0.45 · 989e12) = 238 ms
  EXPECT_NEAR(prefill_seconds(costs, cut_of(costs, {1, 1, 1}), machine("h100_80gb"), 8192, 0), 0.2384, 0.002);
}

TEST(Roofline, APipelineSpeedsUpManyChunksAndNotOne) {
  const Costs costs = costs_of(model("llama2_70b"), DType::kFp16, DType::kFp16);
  const Machine h100 = machine("h100_80gb");
  const auto seconds = [&](int pp, double tokens) {
    return prefill_seconds(costs, cut_of(costs, {1, pp, 1}), h100, tokens, 0);
  };
  EXPECT_GE(seconds(4, kChunk), seconds(1, kChunk));
  EXPECT_LT(seconds(4, 100 * kChunk), seconds(1, 100 * kChunk) / 3.5);
}

TEST(Roofline, APipelineDoesNotSpeedUpDecodingThatIsBoundByWeights) {
  const Costs costs = costs_of(model("llama2_70b"), DType::kFp16, DType::kFp16);
  const Machine h100 = machine("h100_80gb");
  const double one = decode_step_seconds(costs, cut_of(costs, {1, 1, 1}), h100, 1, 128);
  EXPECT_GE(decode_step_seconds(costs, cut_of(costs, {1, 4, 1}), h100, 1, 128), one);
  EXPECT_LT(decode_step_seconds(costs, cut_of(costs, {4, 1, 1}), h100, 1, 128), one / 3);
}

TEST(Roofline, ABatchOfMixtralReadsMoreExpertsThanOneSequence) {
  const Costs costs = costs_of(model("mixtral_8x7b"), DType::kBf16, DType::kBf16);
  // Published: 46.7B parameters, 12.9B of them used for a token. One token reads about the latter; with 64 tokens
  // nearly every expert is read: 3.5 times as much.
  const Machine h100 = machine("h100_80gb");
  const Cut cut = cut_of(costs, {1, 1, 1});
  const double one = decode_step_seconds(costs, cut, h100, 1, 1) - kStepOverhead;
  const double many = decode_step_seconds(costs, cut, h100, 64, 1) - kStepOverhead;
  EXPECT_NEAR(one, 12.9e9 * 2 / (0.7 * 3.35e12), 0.05 * one);
  EXPECT_NEAR(many / one, 46.7 / 12.9, 0.2);
}

TEST(Roofline, Fp8OnAnA100ComputesAtTheSpeedOfBf16) {
  EXPECT_EQ(machine("a100_80gb", DType::kFp8).flops, 312e12);
  EXPECT_EQ(machine("h100_80gb", DType::kFp8).flops, 1979e12);
}

TEST(Roofline, TrainingTakesSixOperationsAParameterAndFourWhereItIsFrozen) {
  TrainWork work;
  work.full = true;
  EXPECT_EQ(train_flops_per_token(100, work), 600);
  work.full = false;
  work.trained = 10;
  EXPECT_EQ(train_flops_per_token(100, work), 460);
  work.checkpointing = true;
  EXPECT_EQ(train_flops_per_token(100, work), 660);
  work.reference = true;
  EXPECT_EQ(train_flops_per_token(100, work), 860);
}

TEST(Roofline, FewMicroBatchesLeaveAPipelineIdle) {
  const Costs costs = costs_of(model("llama2_70b"), DType::kFp16, DType::kFp16);
  TrainWork work;
  work.sequences = 16;
  work.length = 2048;
  work.full = false;
  const Cut cut = cut_of(costs, {1, 4, 1});
  work.micro_batch = 1;  // 16 rounds and 3 to fill: 19 rounds of one sequence
  const double many = train_step_seconds(costs, cut, machine("h100_80gb"), work);
  work.micro_batch = 8;  // 2 rounds and 3 to fill: 5 rounds of eight sequences
  const double few = train_step_seconds(costs, cut, machine("h100_80gb"), work);
  EXPECT_NEAR(few / many, 5.0 * 8 / 19, 0.05);
}

TEST(Roofline, AMachineWithoutSpeedNeverEndsAndIsNeverNaN) {
  const Costs costs = costs_of(model("llama2_7b"), DType::kFp16, DType::kFp16);
  const Machine nothing;
  const Cut cut = cut_of(costs, {2, 2, 2});
  EXPECT_TRUE(std::isinf(prefill_seconds(costs, cut, nothing, 100, 100)));
  EXPECT_TRUE(std::isinf(decode_step_seconds(costs, cut, nothing, 1, 1)));
  TrainWork work;
  work.length = 10;
  EXPECT_TRUE(std::isinf(train_step_seconds(costs, cut, nothing, work)));
  EXPECT_EQ(prefill_seconds(costs, cut, nothing, 0, 0), 0);
  EXPECT_EQ(decode_step_seconds(costs, cut, nothing, 0, 0), 0);
}

}  // namespace
}  // namespace orch::planner
