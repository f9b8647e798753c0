#include "model/architecture.h"

#include <gmock/gmock.h>

#include <cmath>

#include "model/rope.h"
#include "model/sources.h"

namespace orch::model {
namespace {

using testing::HasSubstr;

std::string why_not(const std::string& json) {
  const auto read = read_architecture(json, "config.json");
  return read ? "it was read" : read.error().what;
}

constexpr const char* kLlama = R"("model_type":"llama","hidden_size":64,"vocab_size":100,"num_hidden_layers":2,
  "num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":96)";

TEST(Architecture, OfALlamaIsWhatItsConfigurationSays) {
  const auto read = read_architecture(std::string("{") + kLlama + R"(,"rms_norm_eps":1e-5,"tie_word_embeddings":true})",
                                      "config.json");
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->layers.size(), 2U);
  EXPECT_EQ(read->attention.head_dim, 16);
  EXPECT_FLOAT_EQ(read->attention.scale, 0.25F);
  EXPECT_FLOAT_EQ(read->norm.eps, 1e-5F);
  EXPECT_TRUE(read->tied);
  ASSERT_EQ(read->rope.frequencies.size(), 8U);
  EXPECT_FLOAT_EQ(read->rope.frequencies[0], 1);
  EXPECT_FLOAT_EQ(read->rope.frequencies[4], 0.01F);  // 10000 ^ -(8 / 16)
}

TEST(Architecture, ThatIsNotKnownNamesTheNearestAndAll) {
  EXPECT_THAT(why_not(R"({"model_type":"lama"})"), HasSubstr("did you mean 'llama'?"));
  EXPECT_THAT(why_not(R"({"model_type":"bert"})"), HasSubstr("known are dbrx, deepseek_v3, falcon"));
  EXPECT_THAT(why_not("[]"), HasSubstr("no JSON object"));
}

TEST(Architecture, WithANumberOutOfBoundsNamesTheField) {
  const auto with = [](const std::string& more) { return why_not(std::string("{") + kLlama + "," + more + "}"); };
  EXPECT_THAT(with(R"("num_hidden_layers":1e9)"),
              HasSubstr("'num_hidden_layers' must be a whole number from 1 to 4096"));
  EXPECT_THAT(with(R"("hidden_size":-1)"), HasSubstr("'hidden_size'"));
  EXPECT_THAT(with(R"("head_dim":4096)"), HasSubstr("'head_dim'"));
  EXPECT_THAT(with(R"("num_key_value_heads":3)"), HasSubstr("4 heads cannot share 3 key heads"));
  EXPECT_THAT(with(R"("rope_scaling":{"rope_type":"ntk"})"), HasSubstr("'ntk' is not known"));
  EXPECT_THAT(with(R"("rope_scaling":7)"), HasSubstr("rope_scaling: must be a map"));
  EXPECT_THAT(with(R"("rope_theta":"x")"), HasSubstr("'rope_theta' must be a number"));
  EXPECT_THAT(with(R"("rope_theta":1e-300)"), HasSubstr("frequencies that are out of bounds"));
  EXPECT_THAT(
      with(R"("partial_rotary_factor":0,"rope_scaling":{"type":"longrope","short_factor":[],"long_factor":[]})"),
      HasSubstr("short_factor and long_factor must have a number for each of the 0 pairs that are turned"));
  EXPECT_THAT(with(R"("hidden_act":"mish")"), HasSubstr("'mish' is not known"));
  EXPECT_THAT(why_not(R"({"model_type":"llama"})"), HasSubstr("'hidden_size' is missing"));
}

TEST(Architecture, WithAFieldWhoseMeaningIsNotKnownIsRefused) {
  EXPECT_THAT(why_not(R"({"model_type":"qwen2","hidden_size":64,"vocab_size":100,"num_hidden_layers":2,
    "num_attention_heads":4,"intermediate_size":96,"use_sliding_window":true,"sliding_window":8,
    "layer_types":["full_attention","chunked_attention"]})"),
              HasSubstr("'layer_types' has \"chunked_attention\"; known are full_attention, sliding_attention"));
  EXPECT_THAT(why_not(R"({"model_type":"qwen2","hidden_size":64,"vocab_size":100,"num_hidden_layers":2,
    "num_attention_heads":4,"intermediate_size":96,"use_sliding_window":true,"sliding_window":8,
    "layer_types":["full_attention"]})"),
              HasSubstr("a kind for each of the 2 layers"));
  EXPECT_THAT(why_not(R"({"model_type":"gpt2","n_embd":64,"vocab_size":100,"n_layer":2,"n_head":4,
    "scale_attn_by_inverse_layer_idx":true})"),
              HasSubstr("'scale_attn_by_inverse_layer_idx' is not known here"));
}

// Linear scaling divides every angle; Llama 3's leaves short waves and divides long ones.
TEST(Rope, IsStretchedAsItsScalingSays) {
  const auto with = [](const std::string& scaling) {
    return read_architecture(std::string("{") + kLlama +
                                 R"(,"head_dim":64,"max_position_embeddings":8192,"rope_scaling":)" + scaling + "}",
                             "c")
        .
        operator*();
  };
  const Architecture plain = with("null"), linear = with(R"({"type":"linear","factor":4.0})");
  for (std::size_t i = 0; i < 32; ++i) EXPECT_FLOAT_EQ(linear.rope.frequencies[i] * 4, plain.rope.frequencies[i]);
  const Architecture llama3 = with(
      R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192})");
  EXPECT_FLOAT_EQ(llama3.rope.frequencies[0], plain.rope.frequencies[0]);
  EXPECT_FLOAT_EQ(llama3.rope.frequencies[31] * 8, plain.rope.frequencies[31]);
  const Architecture dynamic = with(R"({"type":"dynamic","factor":2.0})");
  EXPECT_EQ(dynamic.rope.dynamic, 2);
  EXPECT_EQ(dynamic.rope.trained, 8192);
}

// Worked by hand: beyond 8192 tokens the base is multiplied by (factor · n / 8192 − (factor − 1)) ^ (dims / (dims −
// 2)).
TEST(Rope, GrowsWithTheSequenceWhereItIsDynamic) {
  Rope rope;
  rope.dims = 64;
  EXPECT_EQ(dynamic_base(rope, 1'000'000), 1) << "not dynamic";
  rope.dynamic = 2;
  rope.trained = 8192;
  EXPECT_EQ(dynamic_base(rope, 100), 1);
  EXPECT_EQ(dynamic_base(rope, 8192), 1);
  EXPECT_FLOAT_EQ(dynamic_base(rope, 16384), std::pow(3.0F, 64.0F / 62.0F));
}

TEST(Rope, IsTheLongOneBeyondTheTrainedLengthAlone) {
  Rope rope;
  rope.trained = 32;
  EXPECT_FALSE(is_lengthy(rope, 33)) << "there is one list alone";
  rope.long_frequencies = {1};
  EXPECT_FALSE(is_lengthy(rope, 32));
  EXPECT_TRUE(is_lengthy(rope, 33));
}

TEST(Shard, HasItsPartAndAllPartsAreTheWhole) {
  AttentionKind attention;
  attention.heads = 8;
  attention.kv_heads = 2;
  for (const int ranks : {1, 2, 4, 8}) {
    std::int64_t heads = 0, vocab = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const Part own = heads_of(attention, {rank, ranks}), kv = kv_heads_of(attention, {rank, ranks});
      EXPECT_EQ(own.first, heads);
      heads += own.count;
      // The head of the cache that its queries belong to.
      EXPECT_EQ(kv.first, own.first / 4);
      EXPECT_EQ(kv.first + kv.count - 1, (own.first + own.count - 1) / 4);
      const Part tokens = vocab_of(1000, {rank, ranks});
      EXPECT_EQ(tokens.first, vocab);
      if (tokens.count > 0) EXPECT_EQ(tokens.first % 64, 0);
      vocab += tokens.count;
    }
    EXPECT_EQ(heads, 8);
    EXPECT_EQ(vocab, 1000);
  }
}

}  // namespace
}  // namespace orch::model
