#include "base/memory.h"

#include <cmath>
#include <limits>

#include "base/units.h"
#include "known_models.h"
#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::DoubleNear;

namespace {

constexpr double kH100 = 79.6 * kGiB;  // what programs can have of a card of 80 GB
constexpr double kMostShare = 0.90;

InferenceShape shape(DType weights, std::int64_t tokens, std::int64_t batch) {
  InferenceShape shape;
  shape.weights = weights;
  shape.tokens = tokens;
  shape.batch = batch;
  return shape;
}

}  // namespace

// 80 layers · 2 · 8 heads · 128 · 2 bytes = 327,680 a token. In fp8 the worker's pages have an fp32 scale for each 128
// (kernels/tensor.h), which a published figure for other engines does not.
TEST(Memory, KvCacheOfLlama2_70bIsOneAndAQuarterGibPer4096Tokens) {
  const Decoder decoder = *llama2_70b().decoder;
  EXPECT_EQ(kv_bytes_per_token(decoder, DType::kBf16), 327'680);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {}, DType::kBf16, 4096, 1), 1.25 * kGiB);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {}, DType::kFp8, 4096, 1), 0.625 * kGiB * (1 + 4.0 / 128));
}

TEST(Memory, KvCacheIsSplitOverHeadsAndStages) {
  const Decoder decoder = *llama2_70b().decoder;
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {8, 1, 1}, DType::kBf16, 4096, 1), 1.25 * kGiB / 8);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {2, 4, 1}, DType::kBf16, 4096, 3), 3 * 1.25 * kGiB / 8);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {1, 3, 1}, DType::kBf16, 4096, 1), 1.25 * kGiB * 27 / 80);  // the fullest stage
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {1, 1, 8}, DType::kBf16, 4096, 1), 1.25 * kGiB);
}

TEST(Memory, KvHeadsFewerThanRanksAreKeptByEach) {
  const Decoder decoder = *granite_34b().decoder;  // one KV head of 128: 88 · 2 · 128 · 2
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {1, 1, 1}, DType::kBf16, 1, 1), 45'056);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {8, 1, 1}, DType::kBf16, 1, 1), 45'056);
}

// DeepSeek-V3: 61 · (512 + 64) · 2 bytes.
TEST(Memory, ALatentCacheIsWholeOnEveryRank) {
  const Decoder decoder = *deepseek_v3().decoder;
  EXPECT_EQ(kv_bytes_per_token(decoder, DType::kBf16), 70'272);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {8, 1, 1}, DType::kBf16, 1000, 2), 2000 * 70'272.0);
}

// Six layers, every third sees all, a token 2 · 4 heads · 16 · 2 bytes in each: 2 · 10 + 4 · min(10, 4) of them read.
TEST(Memory, LayersWithAWindowReadNoMoreThanItAndKeepAll) {
  Decoder decoder = llama_like(6, 64, 4, 4, 128, 100);
  decoder.window = 4;
  decoder.full_every = 3;
  EXPECT_EQ(kv_bytes_read(decoder, 1, DType::kBf16, 10, 1), 36 * 256);
  EXPECT_EQ(kv_bytes_read(decoder, 2, DType::kBf16, 3, 5), 5 * 18 * 128);
  EXPECT_EQ(kv_bytes_per_gpu(decoder, {}, DType::kBf16, 10, 1), 60 * 256);
  EXPECT_EQ(kv_bytes_per_token(decoder, DType::kBf16), 6 * 256);
  decoder.full_every = 0;
  EXPECT_EQ(kv_bytes_read(decoder, 1, DType::kBf16, 10, 1), 24 * 256);
}

TEST(Memory, WeightsInSixteenBitsAreTwoBytesAParameter) {
  for (const Model& model : {llama2_70b(), mixtral_8x7b(), falcon_180b(), gpt2(), qwen25_72b(), dbrx(), granite_34b(),
                             deepseek_v2_lite(), deepseek_v3()}) {
    EXPECT_EQ(weight_bytes(model, DType::kBf16), 2 * count_params(model).total) << model.name;
    EXPECT_EQ(weight_bytes(model, DType::kFp32), 4 * count_params(model).total) << model.name;
  }
}

// Llama-3.1-70B in FP8 with a scale a row. Linear layers 80 · (150,994,944 + 704,643,072) = 68,451,041,280 bytes; rows
// of a layer 8192 + 1024 + 1024 + 8192 + 28672 + 28672 + 8192 = 83,968, times 80 · 4 = 26,869,760; norms 161 · 8192 · 2
// = 2,637,824; embedding and head stay in 16 bits: 2 · 128256 · 8192 · 2 = 4,202,692,608.
TEST(Memory, WeightsInEightBitsHaveScalesAndKeepEmbeddingsInSixteen) {
  EXPECT_EQ(weight_bytes(llama31_70b_fp8(), DType::kFp8), 72'683'241'472.0);
  Model per_tensor = llama31_70b_fp8();
  per_tensor.scales = Scales::kTensor;
  EXPECT_EQ(weight_bytes(per_tensor, DType::kFp8), 72'683'241'472.0 - 26'869'760);
}

// A layer of 256 hidden, 4 heads of 64, 384 inner: blocks of 128 make 2·2 for each of q, k, v, o and 2·3 for gate, up,
// down: 34 scales of 4 bytes. Weights 4 · 65,536 + 3 · 98,304 = 557,056; norms 2 · 256 · 2; outside 2 · 1000 · 256 · 2
// + 256 · 2.
TEST(Memory, ScalesOfBlocksAreOneForEach128By128) {
  Model model = model_of("m", llama_like(1, 256, 4, 4, 384, 1000));
  model.dtype = DType::kFp8;
  model.scales = Scales::kBlock128;
  EXPECT_EQ(weight_bytes(model, DType::kFp8), 557'056 + 34 * 4 + 1024 + 1'024'000 + 512);
  // Made on load in int4: half a byte, a 16-bit scale for each 128 inputs of a row. q, k, v, o: 2 groups · 256 rows
  // each; gate and up 2 · 384 each; down 3 · 256: 4,352 scales.
  EXPECT_EQ(weight_bytes(model, DType::kInt4), 557'056 / 2 + 4'352 * 2 + 1024 + 1'024'000 + 512);
}

TEST(Memory, TensorParallelRanksSplitMatricesAndRepeatNorms) {
  // 161 norms of 8192 are on each of the 8 ranks; the rest is an eighth.
  const double norms = 161 * 8192.0, rest = 68'976'648'192.0 - norms;
  EXPECT_EQ(inference_memory(llama2_70b(), {8, 1, 1}, shape(DType::kBf16, 2048, 1)).weights, 2 * (rest / 8 + norms));
}

TEST(Memory, KvProjectionsAreRepeatedWithTheirHeads) {
  // Granite-34B on 8 ranks: K and V of one head are on each rank, with their biases.
  Model model = granite_34b();
  const double kv = 88 * (2 * 6144.0 * 128 + 2 * 128);
  const double norms = (2 * 88 + 1) * 2 * 6144.0, out_biases = 88 * 2 * 6144.0, positions = 8192 * 6144.0;
  const double whole = kv + norms + out_biases + positions;
  const double split = count_params(model).total - whole;
  EXPECT_EQ(inference_memory(model, {8, 1, 1}, shape(DType::kBf16, 2048, 1)).weights, 2 * (split / 8 + whole));
}

TEST(Memory, AVisionTowerThatDoesNotSplitIsOnEveryRank) {
  Model plain = model_of("llama3_70b", llama_like(80, 8192, 64, 8, 28672, 128264)), model = plain;
  model.vision = internvit_6b();
  const auto weights = [](const Model& m, int tp) {
    return inference_memory(m, {tp, 1, 1}, shape(DType::kBf16, 2048, 1)).weights;
  };
  EXPECT_EQ(weights(model, 8) - weights(plain, 8), 2 * 5.54e9);
  model.vision->heads = 16;
  EXPECT_EQ(weights(model, 8) - weights(plain, 8), 2 * 5.54e9 / 8);
}

TEST(Memory, Falcon180bInBf16FitsANodeOfEight80GbCards) {
  const MemoryUse use = inference_memory(falcon_180b(), {8, 1, 1}, shape(DType::kBf16, 2048, 1));
  EXPECT_LE(use.total(), kMostShare * kH100);
  EXPECT_GE(use.weights, 179'522'565'120.0 * 2 / 8);
  EXPECT_GT(inference_memory(falcon_180b(), {4, 1, 1}, shape(DType::kBf16, 2048, 1)).total(), kMostShare * kH100);
}

TEST(Memory, DeepSeekV3InFp8NeedsSixteen80GbCards) {
  // 671 GB over 8 cards are 78.1 GiB each, before anything else.
  for (const Layout& layout : layouts_for(deepseek_v3(), 8, 8).legal)
    if (layout.dp == 1)
      EXPECT_GT(inference_memory(deepseek_v3(), layout, shape(DType::kFp8, 2048, 1)).total(), kMostShare * kH100);
  EXPECT_LE(inference_memory(deepseek_v3(), {8, 2, 1}, shape(DType::kFp8, 4096, 8)).total(), kMostShare * kH100);
  // 671.03 GB, and the embeddings' second byte (1.85 GB), the router's (58 · 1.84 MB) and the scales (0.16 GB).
  EXPECT_THAT(weight_bytes(deepseek_v3(), DType::kFp8), DoubleNear(673.15e9, 0.05e9));
}

TEST(Memory, GrowsWithBatchContextAndStep) {
  const auto total = [](std::int64_t tokens, std::int64_t batch, std::int64_t prefill) {
    InferenceShape s = shape(DType::kBf16, tokens, batch);
    s.prefill = prefill;
    return inference_memory(mistral_7b(), {}, s).total();
  };
  EXPECT_LT(total(2048, 1, 2048), total(4096, 1, 2048));
  EXPECT_LT(total(2048, 1, 2048), total(2048, 2, 2048));
  EXPECT_LT(total(2048, 1, 1024), total(2048, 1, 2048));
  EXPECT_EQ(total(2048, 1, 2048), total(2048, 1, 1 << 20));  // a step has no more tokens than there are
}

// T = 1024 tokens of Mistral-7B in 16 bits: five pieces as wide as its hidden size, 20,480; the attention (3 · 32 + 2 ·
// 8) · 128 = 14,336; the feed-forward 14,336. One text is drawn from: 4 · 32000. What the engine takes of the plan
// backend is tests/planner/inference_memory_test.cpp.
TEST(Memory, ActivationsOfAForwardStepFollowTheirFormula) {
  InferenceShape s = shape(DType::kBf16, 1024, 1);
  const MemoryUse use = inference_memory(mistral_7b(), {}, s);
  EXPECT_EQ(use.activations, 2.0 * 1024 * (20'480 + 14'336 + 14'336) + 4.0 * 32000);
  EXPECT_EQ(use.kv, 1024 * 32 * 2 * 8 * 128 * 2.0);
  EXPECT_DOUBLE_EQ(use.overhead, 0.75 * kGiB + 0.03 * (use.weights + use.kv + use.activations));
  EXPECT_EQ(use.adapter + use.gradients + use.optimizer, 0);
}

// What PEFT prints for rank 16 on every linear layer of Llama-2-7B.
TEST(Memory, AdaptersOfLlama2_7bHaveThePublishedCount) {
  EXPECT_EQ(adapter_params(*llama2_7b().decoder, 16), 39'976'960);
  EXPECT_EQ(adapter_params(*llama2_7b().decoder, 0), 0);
}

// Each expert has adapters of its own: 8 · 3 · (4096 + 14336) · r; attention (8192 + 5120 + 5120 + 8192) · r.
TEST(Memory, EveryExpertHasItsAdapter) {
  EXPECT_EQ(adapter_params(*mixtral_8x7b().decoder, 2), 32 * 2 * (8 * 3 * 18'432.0 + 26'624));
}

TEST(Memory, LoraTrainsOnlyItsAdapter) {
  const MemoryUse use = training_memory(llama2_7b(), {}, TrainShape{});
  EXPECT_EQ(use.weights, 2 * 6'738'415'616.0);
  EXPECT_EQ(use.adapter, 6 * 39'976'960.0);
  EXPECT_EQ(use.gradients, 4 * 39'976'960.0);
  EXPECT_EQ(use.optimizer, 8 * 39'976'960.0);
  EXPECT_EQ(use.kv, 0);
  EXPECT_LE(use.total(), 24 * kGiB);  // fits the 24 GB card it is commonly done on
}

TEST(Memory, FullTrainingTakesEighteenBytesAParameter) {
  TrainShape full;
  full.full = true;
  const MemoryUse use = training_memory(llama2_7b(), {}, full);
  EXPECT_EQ(use.weights + use.gradients + use.optimizer, 18 * 6'738'415'616.0);
  EXPECT_EQ(use.adapter, 0);
  full.reference = true;
  EXPECT_EQ(training_memory(llama2_7b(), {}, full).weights, 8 * 6'738'415'616.0);
  TrainShape lora;
  lora.reference = true;  // the base with its adapter off: nothing more
  EXPECT_EQ(training_memory(llama2_7b(), {}, lora).total(), training_memory(llama2_7b(), {}, TrainShape{}).total());
}

// T = 2048: with checkpointing 32 · 2 T · 4096 and twice a layer's 2 T (6 · 4096 + 4 · 4096 + 3 · 11008); without, 33
// layers of it. Logits and their gradient: 8 · 32000 · 1024.
TEST(Memory, CheckpointingKeepsOneInputALayer) {
  TrainShape train;
  const double tokens = 2048, layer = 2 * tokens * (10 * 4096 + 3 * 11008), logits = 8.0 * 32000 * 1024;
  EXPECT_EQ(training_memory(llama2_7b(), {}, train).activations, 32 * 2 * tokens * 4096 + 2 * layer + logits);
  train.checkpointing = false;
  EXPECT_EQ(training_memory(llama2_7b(), {}, train).activations, 33 * layer + logits);
}

TEST(Memory, ASplitAdapterKeepsItsUnsplitSideWholeOnEachRank) {
  // Llama-2-7B on two ranks, rank 16: q, k, v 4096 + 2048, o 2048 + 4096; gate, up, down 4096 + 5504.
  const MemoryUse use = training_memory(llama2_7b(), {2, 1, 1}, TrainShape{});
  EXPECT_EQ(use.adapter, 6 * 32 * 16 * (4 * 6144.0 + 3 * 9600));
}

TEST(Memory, AnAdapterBesideTheWeightsKeepsItsUnsplitSideWholeOnEachRank) {
  // Llama-65B (80 layers, 8,192 wide, 22,016 inner) on four ranks, rank 1,432: q, k, v 8192 + 2048, o 2048 + 8192;
  // gate, up 8192 + 5504, down 5504 + 8192; two bytes each. That is 17.5 GiB; a quarter of the whole would be 7.5 GiB.
  const Model model = model_of("llama1_65b", llama_like(80, 8192, 64, 64, 22016, 32000));
  InferenceShape s = shape(DType::kBf16, 2048, 1);
  EXPECT_EQ(inference_memory(model, {4, 1, 1}, s).adapter, 0);
  s.rank = 1432;
  const double whole = 80.0 * 1432 * (4 * (8192 + 2048) + 3 * (8192 + 5504)) * 2;
  const MemoryUse use = inference_memory(model, {4, 1, 1}, s);
  EXPECT_EQ(use.adapter, whole);
  EXPECT_NEAR(use.adapter / kGiB, 17.5, 0.05);
  EXPECT_DOUBLE_EQ(use.overhead, 1.25 * kGiB + 0.03 * (use.weights + use.kv + use.activations + use.adapter));
  EXPECT_EQ(inference_memory(model, {4, 2, 1}, s).adapter, whole / 2);  // 40 layers a stage
}

TEST(Memory, AnAverageOfWhatIsTrainedTakesFourBytesAParameter) {
  TrainShape lora;
  const double without = training_memory(llama2_7b(), {}, lora).total();
  lora.ema = true;
  const MemoryUse use = training_memory(llama2_7b(), {}, lora);
  EXPECT_EQ(use.average, 4 * 39'976'960.0);
  EXPECT_NEAR(use.total() - without, 1.03 * use.average, 1);  // with its fragmentation
  lora.full = true;
  EXPECT_EQ(training_memory(llama2_7b(), {}, lora).average, 4 * 6'738'415'616.0);
  Model flux;
  flux.params = 12e9;
  EXPECT_EQ(training_memory(flux, {}, lora).average, 48e9);
}

TEST(Memory, TheMostUsefulRankIsHalfTheNarrowestSide) {
  EXPECT_EQ(most_useful_rank(*llama2_70b().decoder), 512);  // K and V: 8 · 128 / 2
  EXPECT_EQ(most_useful_rank(*llama2_7b().decoder), 2048);
  EXPECT_EQ(most_useful_rank(*granite_34b().decoder), 64);   // one head of 128
  EXPECT_EQ(most_useful_rank(*deepseek_v3().decoder), 256);  // the latent vector of 512
  EXPECT_EQ(most_useful_rank(llama_like(1, 1, 1, 1, 1, 1)), 1);
}

TEST(Memory, PartsAreThoseThatAreNotNothingAndSumToTheTotal) {
  for (const MemoryUse& use :
       {inference_memory(mistral_7b(), {}, {}), training_memory(mistral_7b(), {2, 2, 1}, {.ema = true})}) {
    double sum = 0;
    for (const auto& [name, bytes] : use.parts()) {
      EXPECT_GT(bytes, 0) << name;
      sum += bytes;
    }
    EXPECT_DOUBLE_EQ(sum, use.total());
  }
  EXPECT_EQ(inference_memory(mistral_7b(), {}, {}).parts().front().first, "weights");
}

TEST(Memory, OfAModelThatIsNotDescribedIsItsWeightsAndAFifth) {
  Model flux;
  flux.params = 12e9;
  const MemoryUse use = inference_memory(flux, {}, {});
  EXPECT_EQ(use.weights, 24e9);
  EXPECT_EQ(use.activations, 4.8e9);
  EXPECT_LE(use.total(), kMostShare * kH100);
  EXPECT_GT(training_memory(flux, {}, {}).optimizer, 0);
}

TEST(Memory, IsFiniteForTheLargestThatAFileMayHold) {
  Decoder decoder = llama_like(1000, 1'000'000, 100'000, 100'000, 10'000'000, 100'000'000);
  decoder.head_dim = 1'000'000;
  decoder.experts =
      Experts{.count = 100'000, .active = 100'000, .ffn = 10'000'000, .shared = 1000, .shared_ffn = 10'000'000};
  const Model model = model_of("m", decoder);
  InferenceShape s;
  s.tokens = s.batch = s.prefill = std::numeric_limits<std::int64_t>::max();
  TrainShape t;
  t.rank = t.sequence = t.micro_batch = std::numeric_limits<std::int64_t>::max();
  for (const Layout& layout : {Layout{1, 1, 1}, Layout{7, 3, 2}, Layout{64, 1000, 1}}) {
    EXPECT_TRUE(std::isfinite(inference_memory(model, layout, s).total()));
    EXPECT_TRUE(std::isfinite(training_memory(model, layout, t).total()));
  }
  EXPECT_GT(inference_memory(model, {}, InferenceShape{.tokens = -1, .batch = 0, .prefill = -7}).total(), 0);
  EXPECT_GT(training_memory(model, {}, TrainShape{.rank = -1, .sequence = 0, .micro_batch = -1}).total(), 0);
}
