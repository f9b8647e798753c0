// Architectures of published models, from their config.json, for tests that check formulas against known facts.
#pragma once

#include "base/model.h"

namespace orch::test {

/// A Llama-shaped decoder: gated feed-forward, RMS norms, no biases.
inline Decoder llama_like(int layers, std::int64_t hidden, int heads, int kv_heads, std::int64_t ffn,
                          std::int64_t vocab) {
  Decoder decoder;
  decoder.layers = layers;
  decoder.hidden = hidden;
  decoder.heads = heads;
  decoder.kv_heads = kv_heads;
  decoder.head_dim = hidden / heads;
  decoder.ffn = ffn;
  decoder.vocab = vocab;
  return decoder;
}

inline Model model_of(std::string name, Decoder decoder) {
  Model model;
  model.name = std::move(name);
  model.decoder = std::move(decoder);
  model.params = count_params(model).total;
  return model;
}

inline Model llama2_7b() { return model_of("llama2_7b", llama_like(32, 4096, 32, 32, 11008, 32000)); }
inline Model llama2_70b() { return model_of("llama2_70b", llama_like(80, 8192, 64, 8, 28672, 32000)); }
inline Model mistral_7b() { return model_of("mistral_7b", llama_like(32, 4096, 32, 8, 14336, 32000)); }

inline Model llama31_70b_fp8() {
  Model model = model_of("llama31_70b_fp8", llama_like(80, 8192, 64, 8, 28672, 128256));
  model.dtype = DType::kFp8;
  model.scales = Scales::kChannel;
  return model;
}

inline Model qwen25_72b() {
  Decoder decoder = llama_like(80, 8192, 64, 8, 29568, 152064);
  decoder.qkv_bias = true;
  return model_of("qwen25_72b", decoder);
}

inline Model mixtral_8x7b() {
  Decoder decoder = llama_like(32, 4096, 32, 8, 0, 32000);
  decoder.experts = Experts{.count = 8, .active = 2, .ffn = 14336};
  return model_of("mixtral_8x7b", decoder);
}

inline Model mixtral_8x22b() {
  Decoder decoder = llama_like(56, 6144, 48, 8, 0, 32768);
  decoder.experts = Experts{.count = 8, .active = 2, .ffn = 16384};
  return model_of("mixtral_8x22b", decoder);
}

inline Model dbrx() {
  Decoder decoder = llama_like(40, 6144, 48, 8, 0, 100352);
  decoder.layer_norm = true;
  decoder.norm_bias = false;
  decoder.experts = Experts{.count = 16, .active = 4, .ffn = 10752};
  return model_of("dbrx", decoder);
}

inline Model falcon_180b() {
  Decoder decoder = llama_like(80, 14848, 232, 8, 59392, 65024);
  decoder.gated_ffn = false;
  decoder.layer_norm = true;
  return model_of("falcon_180b", decoder);
}

inline Model granite_34b() {
  Decoder decoder = llama_like(88, 6144, 48, 1, 24576, 49152);
  decoder.gated_ffn = false;
  decoder.layer_norm = true;
  decoder.qkv_bias = decoder.out_bias = decoder.ffn_bias = true;
  decoder.positions = 8192;
  decoder.tied = true;
  return model_of("granite_34b", decoder);
}

inline Model gpt2() {
  Decoder decoder = llama_like(12, 768, 12, 12, 3072, 50257);
  decoder.gated_ffn = false;
  decoder.layer_norm = true;
  decoder.qkv_bias = decoder.out_bias = decoder.ffn_bias = true;
  decoder.positions = 1024;
  decoder.tied = true;
  return model_of("gpt2", decoder);
}

inline Model deepseek_v3() {
  Decoder decoder = llama_like(61, 7168, 128, 128, 18432, 129280);
  decoder.head_dim = 192;
  decoder.latent = Latent{.q_rank = 1536, .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  decoder.experts = Experts{.count = 256, .active = 8, .ffn = 2048, .shared = 1, .shared_ffn = 2048, .first_dense = 3};
  Model model = model_of("deepseek_v3", decoder);
  model.dtype = DType::kFp8;
  model.scales = Scales::kBlock128;
  return model;
}

inline Model deepseek_v2_lite() {
  Decoder decoder = llama_like(27, 2048, 16, 16, 10944, 102400);
  decoder.head_dim = 192;
  decoder.latent = Latent{.q_rank = 0, .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  decoder.experts = Experts{.count = 64, .active = 6, .ffn = 1408, .shared = 2, .shared_ffn = 2816, .first_dense = 1};
  return model_of("deepseek_v2_lite", decoder);
}

inline Vision internvit_6b() {
  return {.name = "InternViT-6B",
          .layers = 45,
          .hidden = 3200,
          .heads = 25,
          .ffn = 12800,
          .params = 5.54e9,
          .tokens_per_image = 256};
}

}  // namespace orch::test
