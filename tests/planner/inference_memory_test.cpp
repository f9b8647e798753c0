// The planner's formula of memory (orchestrator/base/memory.h) against what the decoder and the engine take of the plan
// backend: the shipped catalog's figures on one side, the models' published config.json on the other.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/catalog.h"
#include "base/known_models.h"
#include "base/layout.h"
#include "base/memory.h"
#include "infer/memory_plan.h"
#include "support/source_dir.h"

namespace orch::infer {
namespace {

struct Known {
  const char* name;    ///< in the catalog
  const char* config;  ///< of the published file what gives shapes
};

constexpr std::array kKnown = {
    Known{"llama31_70b", R"({"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rope_theta": 500000.0})"},
    Known{"mistral_7b", R"({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "sliding_window": 4096})"},
    Known{"qwen25_72b", R"({"model_type": "qwen2", "hidden_size": 8192, "intermediate_size": 29568,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 152064,
        "max_position_embeddings": 32768, "tie_word_embeddings": false})"},
    Known{"qwen3_32b", R"({"model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 25600, "head_dim": 128,
        "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 151936,
        "max_position_embeddings": 40960, "tie_word_embeddings": false})"},
    Known{"qwen3_30b_a3b", R"({"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
        "head_dim": 128, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
        "vocab_size": 151936, "max_position_embeddings": 40960, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 768, "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "tie_word_embeddings": false})"},
    Known{"gemma2_27b", R"({"model_type": "gemma2", "hidden_size": 4608, "intermediate_size": 36864, "head_dim": 128,
        "num_hidden_layers": 46, "num_attention_heads": 32, "num_key_value_heads": 16, "vocab_size": 256000,
        "max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 144})"},
    Known{"phi3_medium", R"({"model_type": "phi3", "hidden_size": 5120, "intermediate_size": 17920,
        "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 32064,
        "max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "tie_word_embeddings": false})"},
    Known{"falcon_40b", R"({"model_type": "falcon", "hidden_size": 8192, "num_hidden_layers": 60,
        "num_attention_heads": 128, "num_kv_heads": 8, "vocab_size": 65024, "new_decoder_architecture": true,
        "parallel_attn": true, "bias": false, "alibi": false})"},
    Known{"mixtral_8x7b", R"({"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2})"},
    Known{"dbrx_instruct", R"({"model_type": "dbrx", "d_model": 6144, "n_layers": 40, "n_heads": 48,
        "vocab_size": 100352, "max_seq_len": 32768,
        "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500000},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}})"},
    Known{"deepseek_v3", R"({"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
        "num_key_value_heads": 128, "vocab_size": 129280, "max_position_embeddings": 163840, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
        "first_k_dense_replace": 3, "moe_layer_freq": 1, "scoring_func": "sigmoid", "routed_scaling_factor": 2.5})"},
    Known{"gpt2", R"({"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
        "vocab_size": 50257})"},
    Known{"granite_34b_code", R"({"model_type": "gpt_bigcode", "n_embd": 6144, "n_head": 48, "n_inner": 24576,
        "n_layer": 88, "n_positions": 8192, "vocab_size": 49152, "multi_query": true})"},
};

class MemoryPlans : public testing::TestWithParam<Known> {
 protected:
  static const Catalog& catalog() {
    static const Catalog kCatalog = [] {
      const std::array<std::filesystem::path, 1> sources = {test::source_dir() / "db/catalog"};
      Diagnostics diagnostics;
      return load_catalog(sources, diagnostics);
    }();
    return kCatalog;
  }
};

struct Asked {
  model::Formats formats = DType::kBf16;
  DType kv = DType::kBf16;
  std::int64_t tokens = 2048, batch = 1, prefill = 2048;
};

/// Of the fullest stage, as the formula has it.
MemoryPlan fullest_plan(const model::Architecture& it, const Decoder& decoder, const Layout& layout,
                        const Asked& asked) {
  MemoryPlan fullest;
  const std::vector<int> split = split_layers(decoder, layout.pp);
  model::Shard shard;
  shard.ranks = layout.tp, shard.stages = layout.pp;
  for (std::size_t stage = 0; stage < split.size(); ++stage) {
    shard.stage = static_cast<int>(stage);
    shard.layers = {shard.layers.first + shard.layers.count, split[stage]};
    EngineRules rules;
    rules.step_tokens = asked.prefill;
    rules.step_sequences = std::max<std::int64_t>(64, asked.batch);
    rules.cache_bytes = std::size_t{1} << 50;
    rules.cache_dtype = asked.kv;
    rules.context = asked.tokens;
    auto plan = plan_memory(it, shard, asked.formats, rules, {asked.batch, asked.tokens});
    EXPECT_TRUE(plan) << plan.error().what;
    if (plan && plan->total() > fullest.total()) fullest = *std::move(plan);
  }
  return fullest;
}

TEST_P(MemoryPlans, AreWhatThePlannersFormulaSays) {
  const Model gpt2 = test::gpt2();  // which the catalog does not have
  const Model* const found = GetParam().name == gpt2.name ? &gpt2 : catalog().models.find(GetParam().name);
  ASSERT_NE(found, nullptr);
  const auto it = model::read_architecture(GetParam().config, GetParam().name);
  ASSERT_TRUE(it) << it.error().what;
  for (const Layout& layout : {Layout{1, 1, 1}, {2, 1, 1}, {8, 1, 1}, {2, 2, 1}, {4, 3, 1}}) {
    if (why_illegal(*found, layout, 8)) continue;
    for (const Asked& asked :
         {Asked{}, Asked{DType::kBf16, DType::kFp8, 2048, 8, 8192}, Asked{DType::kFp32, DType::kFp32, 512, 40, 512},
          // Longer than the windows of those that have one.
          Asked{{DType::kBf16, DType::kInt8}, DType::kBf16, 6000, 1, 2048}}) {
      InferenceShape shape;
      shape.weights = asked.formats.weights;
      shape.kv = asked.kv;
      shape.tokens = asked.tokens;
      shape.batch = asked.batch;
      shape.prefill = asked.prefill;
      const MemoryUse use = inference_memory(*found, layout, shape);
      const MemoryPlan plan = fullest_plan(*it, *found->decoder, layout, asked);
      SCOPED_TRACE(to_string(layout) + ", " + std::string(name_of(asked.formats.weights)) + ", " +
                   std::to_string(asked.batch) + " texts");
      EXPECT_NEAR(plan.weights / use.weights, 1, 0.01);
      EXPECT_EQ(plan.cache, use.kv);
      EXPECT_NEAR(plan.steps / use.activations, 1, 0.02);
      EXPECT_NEAR(plan.total() / (use.weights + use.kv + use.activations), 1, 0.01);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, MemoryPlans, testing::ValuesIn(kKnown),
                         [](const auto& of) { return std::string(of.param.name); });

}  // namespace
}  // namespace orch::infer
