// What the plan backend says of a model's memory and work, of shapes alone. That the planner's formula says the same is
// tests/planner/inference_memory_test.cpp.
#include "infer/memory_plan.h"

#include <gmock/gmock.h>

namespace orch::infer {
namespace {

/// Of its published config.json what gives shapes.
model::Architecture llama_70b() {
  return *model::read_architecture(R"({"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
      "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
      "max_position_embeddings": 131072, "rope_theta": 500000.0})",
                                   "llama31_70b");
}

// A forward pass is 2 operations a parameter and token: of Llama 3.1 70B all but the embedding, 70.55e9 - 128256 ·
// 8192. The head is asked twice: of every token for its score, and once for what is drawn.
TEST(MemoryPlan, SaysHowMuchIsComputed) {
  EngineRules rules;
  rules.cache_bytes = std::size_t{1} << 40;
  const auto plan = plan_memory(llama_70b(), {}, DType::kBf16, rules, {1, 1001});
  ASSERT_TRUE(plan) << plan.error().what;
  const double head = 128256.0 * 8192, layers = 70'553'706'496.0 - 2 * head - 161 * 8192.0;
  EXPECT_DOUBLE_EQ(plan->ops.at("Linear").flops, 2 * 1001 * layers + 2 * head);
  EXPECT_DOUBLE_EQ(plan->ops.at("Score").flops, 2 * 1000 * head);
  EXPECT_EQ(plan->ops.at("Attention").count, 80 * (2 + 1)) << "1000 tokens in two steps of 512, then one";
}

TEST(MemoryPlan, RefusesWhatCannotBe) {
  model::Shard three;
  three.ranks = 3;
  const auto cut = plan_memory(llama_70b(), three, DType::kBf16, {}, {});
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().what, "cannot be cut over 3 ranks: it has 64 heads");
  EngineRules small;
  small.cache_bytes = 1 << 20;
  EXPECT_FALSE(plan_memory(llama_70b(), {}, DType::kBf16, small, {1, 2048}));
  EXPECT_FALSE(plan_memory(llama_70b(), {}, DType::kBf16, {}, {1, 1}));
}

}  // namespace
}  // namespace orch::infer
