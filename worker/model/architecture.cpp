#include "model/architecture.h"

#include <array>
#include <cmath>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/text.h"
#include "model/config.h"
#include "model/rope.h"

namespace orch::model {
namespace {

using kernels::Activation;
using kernels::Route;

// Bounds that no published model comes near, so that products of them do not overflow.
constexpr std::int64_t kMostSize = std::int64_t{1} << 24;
constexpr int kMostLayers = 4096, kMostHeads = 4096, kMostHeadDim = 1024, kMostExperts = 4096;

int read_int(Config& config, const char* key, int otherwise, int least, int most) {
  return static_cast<int>(config.integer(key, otherwise, least, most));
}

Activation activation_of(Config& config, const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  config.refuse("the activation " + quote(name) +
                " is not known; known are silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
  return Activation::kNone;
}

/// What most families write the same way.
void read_common(Config& config, Architecture& it) {
  it.hidden = config.need_integer("hidden_size", 1, kMostSize);
  it.vocab = config.need_integer("vocab_size", 1, kMostSize);
  it.context = config.integer("max_position_embeddings", 2048, 1, kMostSize);
  it.layers.resize(static_cast<std::size_t>(config.need_integer("num_hidden_layers", 1, kMostLayers)));
  it.attention.heads = static_cast<int>(config.need_integer("num_attention_heads", 1, kMostHeads));
  it.attention.kv_heads = read_int(config, "num_key_value_heads", it.attention.heads, 1, kMostHeads);
  it.attention.head_dim =
      read_int(config, "head_dim",
               static_cast<int>(std::min<std::int64_t>(it.hidden / it.attention.heads, kMostHeadDim)), 1, kMostHeadDim);
  it.attention.scale = 1 / std::sqrt(static_cast<float>(it.attention.head_dim));
  it.feed_forward.inner = config.need_integer("intermediate_size", 1, kMostSize);
  it.feed_forward.activation = activation_of(config, config.text("hidden_act", "silu"));
  it.norm.eps = static_cast<float>(config.number("rms_norm_eps", 1e-6));
}

void read_rotation(Config& config, Architecture& it, double theta = 10000) {
  // Newer files have it beside the other numbers of the rotation.
  const double part =
      config.part("rope_parameters").number("partial_rotary_factor", config.number("partial_rotary_factor", 1));
  const int dims = static_cast<int>(std::clamp(part, 0.0, 1.0) * it.attention.head_dim);
  it.rope = read_rope(config, dims, it.context, theta);
}

void llama(Config& config, Architecture& it) {
  read_common(config, it);
  it.attention.qkv_bias = it.attention.out_bias = config.flag("attention_bias", false);
  it.feed_forward.bias = config.flag("mlp_bias", false);
  it.tied = config.flag("tie_word_embeddings", false);
  read_rotation(config, it);
}

void window_everywhere(Config& config, Architecture& it) {
  const std::int64_t window = config.integer("sliding_window", 0, 1, kMostSize);
  for (Layer& layer : it.layers) layer.window = window;
}

void mistral(Config& config, Architecture& it) {
  llama(config, it);
  window_everywhere(config, it);
}

void experts_everywhere(Architecture& it) {
  for (Layer& layer : it.layers) layer.experts = true;
}

void mixtral(Config& config, Architecture& it) {
  mistral(config, it);
  ExpertsKind& experts = it.experts.emplace();
  experts.count = read_int(config, "num_local_experts", 8, 1, kMostExperts);
  experts.active = read_int(config, "num_experts_per_tok", 2, 1, experts.count);
  experts.inner = it.feed_forward.inner;
  experts.renormalise = true;
  experts_everywhere(it);
}

/// Newer files say of each layer whether it has a window.
void read_layer_types(Config& config, Architecture& it, std::int64_t window) {
  const nlohmann::json* types = config.raw("layer_types");
  if (!types) return;
  if (!types->is_array() || types->size() != it.layers.size())
    return config.refuse("'layer_types' must have a kind for each of the " + std::to_string(it.layers.size()) +
                         " layers");
  for (std::size_t i = 0; i < it.layers.size(); ++i) {
    const nlohmann::json& type = (*types)[i];
    if (type != "full_attention" && type != "sliding_attention")
      return config.refuse("'layer_types' has " + shown(type.dump()) + "; known are full_attention, sliding_attention");
    it.layers[i].window = type == "sliding_attention" ? window : 0;
  }
}

void qwen_windows(Config& config, Architecture& it) {
  if (!config.flag("use_sliding_window", false)) return;
  const std::int64_t window = config.integer("sliding_window", 0, 1, kMostSize);
  const auto from = static_cast<std::size_t>(config.integer("max_window_layers", 28, 0, kMostLayers));
  for (std::size_t i = from; i < it.layers.size(); ++i) it.layers[i].window = window;
  read_layer_types(config, it, window);
}

void qwen2(Config& config, Architecture& it) {
  llama(config, it);
  it.attention.qkv_bias = true;
  it.attention.out_bias = false;
  qwen_windows(config, it);
}

void qwen3(Config& config, Architecture& it) {
  llama(config, it);
  it.attention.head_norms = true;
  qwen_windows(config, it);
}

void qwen3_moe(Config& config, Architecture& it) {
  llama(config, it);
  it.attention.head_norms = true;
  if (config.flag("use_sliding_window", false)) window_everywhere(config, it);
  ExpertsKind& experts = it.experts.emplace();
  const char* count = config.has("num_experts") ? "num_experts" : "num_local_experts";
  experts.count = read_int(config, count, 128, 1, kMostExperts);
  experts.active = read_int(config, "num_experts_per_tok", 8, 1, experts.count);
  experts.inner = config.need_integer("moe_intermediate_size", 1, kMostSize);
  experts.renormalise = config.flag("norm_topk_prob", false);
  const std::int64_t every = config.integer("decoder_sparse_step", 1, 1, kMostLayers);
  const std::vector<double> dense = config.numbers("mlp_only_layers");
  for (std::size_t i = 0; i < it.layers.size(); ++i)
    it.layers[i].experts = (static_cast<std::int64_t>(i) + 1) % every == 0 &&
                           std::find(dense.begin(), dense.end(), static_cast<double>(i)) == dense.end();
}

void gemma(Config& config, Architecture& it) {
  read_common(config, it);
  it.feed_forward.activation = activation_of(config, config.text("hidden_activation", "gelu_pytorch_tanh"));
  it.norm.plus_one = true;
  it.attention.qkv_bias = it.attention.out_bias = config.flag("attention_bias", false);
  it.tied = config.flag("tie_word_embeddings", true);
  it.embedding_scale = std::sqrt(static_cast<float>(it.hidden));
  read_rotation(config, it);
}

void gemma2(Config& config, Architecture& it) {
  gemma(config, it);
  it.post_norms = true;
  const double scalar = config.number("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) config.refuse("'query_pre_attn_scalar' must be above 0");
  it.attention.scale = static_cast<float>(1 / std::sqrt(scalar));
  it.attention.soft_cap = static_cast<float>(config.number("attn_logit_softcapping", 0));
  it.logit_cap = static_cast<float>(config.number("final_logit_softcapping", 0));
  const std::int64_t window = config.integer("sliding_window", 4096, 1, kMostSize);
  for (std::size_t i = 0; i < it.layers.size(); i += 2) it.layers[i].window = window;
  read_layer_types(config, it, window);
}

void phi3(Config& config, Architecture& it) { mistral(config, it); }

void falcon(Config& config, Architecture& it) {
  it.hidden = config.need_integer("hidden_size", 1, kMostSize);
  it.vocab = config.need_integer("vocab_size", 1, kMostSize);
  it.context = config.integer("max_position_embeddings", 2048, 1, kMostSize);
  const char* layers = config.has("num_hidden_layers") ? "num_hidden_layers" : "n_layer";
  it.layers.resize(static_cast<std::size_t>(config.need_integer(layers, 1, kMostLayers)));
  const char* heads = config.has("num_attention_heads") ? "num_attention_heads" : "n_head";
  it.attention.heads = static_cast<int>(config.need_integer(heads, 1, kMostHeads));
  const bool grouped = config.flag("new_decoder_architecture", false);
  const char* kv_heads = config.has("num_kv_heads") ? "num_kv_heads" : "n_head_kv";
  it.attention.kv_heads = grouped ? read_int(config, kv_heads, it.attention.heads, 1, kMostHeads)
                          : config.flag("multi_query", true) ? 1
                                                             : it.attention.heads;
  it.attention.head_dim = static_cast<int>(std::min<std::int64_t>(it.hidden / it.attention.heads, kMostHeadDim));
  it.attention.scale = 1 / std::sqrt(static_cast<float>(it.attention.head_dim));
  const bool bias = config.flag("bias", false);
  it.attention.qkv_bias = it.attention.out_bias = it.feed_forward.bias = bias;
  it.feed_forward.gated = false;
  it.feed_forward.inner = config.integer("ffn_hidden_size", 4 * it.hidden, 1, kMostSize);
  it.feed_forward.activation = activation_of(config, config.text("activation", "gelu"));
  it.norm.layer = it.norm.bias = true;
  it.norm.eps = static_cast<float>(config.number("layer_norm_epsilon", 1e-5));
  it.parallel = grouped || config.flag("parallel_attn", true);
  it.parallel_norms = grouped && config.integer("num_ln_in_parallel_attn", 2, 1, 2) == 2;
  it.alibi = config.flag("alibi", false);
  it.tied = config.flag("tie_word_embeddings", true);
  if (!it.alibi) it.rope = read_rope(config, it.attention.head_dim, it.context, 10000);
}

void dbrx(Config& config, Architecture& it) {
  it.hidden = config.need_integer("d_model", 1, kMostSize);
  it.vocab = config.need_integer("vocab_size", 1, kMostSize);
  it.context = config.integer("max_seq_len", 2048, 1, kMostSize);
  it.layers.resize(static_cast<std::size_t>(config.need_integer("n_layers", 1, kMostLayers)));
  it.attention.heads = static_cast<int>(config.need_integer("n_heads", 1, kMostHeads));
  it.attention.head_dim = static_cast<int>(std::min<std::int64_t>(it.hidden / it.attention.heads, kMostHeadDim));
  it.attention.scale = 1 / std::sqrt(static_cast<float>(it.attention.head_dim));
  Config attention = config.part("attn_config"), feed_forward = config.part("ffn_config");
  it.attention.kv_heads = read_int(attention, "kv_n_heads", 1, 1, kMostHeads);
  it.attention.clip = static_cast<float>(attention.number("clip_qkv", 0));
  it.rope = read_rope(attention, it.attention.head_dim, it.context, 10000);
  ExpertsKind& experts = it.experts.emplace();
  experts.count = read_int(feed_forward, "moe_num_experts", 4, 1, kMostExperts);
  experts.active = read_int(feed_forward, "moe_top_k", 1, 1, experts.count);
  experts.inner = feed_forward.integer("ffn_hidden_size", 3584, 1, kMostSize);
  experts.renormalise = feed_forward.has("moe_normalize_expert_weights");
  if (experts.renormalise && feed_forward.number("moe_normalize_expert_weights", 1) != 1)
    feed_forward.refuse("'moe_normalize_expert_weights' is known as 1 alone");
  it.feed_forward.activation = activation_of(config, feed_forward.part("ffn_act_fn").text("name", "silu"));
  it.feed_forward.inner = experts.inner;
  it.norm.layer = true;
  it.norm.eps = 1e-5F;
  it.tied = config.flag("tie_word_embeddings", false);
  config.take_problem(attention);
  config.take_problem(feed_forward);
  experts_everywhere(it);
}

void deepseek_v3(Config& config, Architecture& it) {
  read_common(config, it);
  it.tied = config.flag("tie_word_embeddings", false);
  LatentKind& latent = it.attention.latent.emplace();
  latent.q_rank = config.integer("q_lora_rank", 0, 1, kMostSize);
  latent.kv_rank = config.need_integer("kv_lora_rank", 1, kMostHeadDim / 2);
  latent.nope_dim = static_cast<int>(config.need_integer("qk_nope_head_dim", 1, kMostHeadDim / 2));
  latent.rope_dim = static_cast<int>(config.need_integer("qk_rope_head_dim", 2, kMostHeadDim / 2));
  latent.value_dim = static_cast<int>(config.need_integer("v_head_dim", 1, kMostHeadDim));
  it.attention.kv_heads = 1;
  it.attention.head_dim = latent.nope_dim + latent.rope_dim;
  if (config.flag("attention_bias", false)) config.refuse("'attention_bias' is known as false alone");
  it.rope = read_rope(config, latent.rope_dim, it.context, 10000);
  if (it.rope.dynamic > 0 || !it.rope.long_frequencies.empty())
    config.refuse("a rotation of the kind dynamic or longrope is not known with latent attention");
  it.rope.interleaved = config.flag("rope_interleave", true);
  it.attention.scale = 1 / std::sqrt(static_cast<float>(it.attention.head_dim));
  Config scaling = config.part(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  if (const double all = scaling.number("mscale_all_dim", 0); all != 0) {
    const double factor = yarn_scale(scaling.number("factor", 1), all);
    it.attention.scale *= static_cast<float>(factor * factor);
  }
  ExpertsKind& experts = it.experts.emplace();
  experts.count = read_int(config, "n_routed_experts", 256, 1, kMostExperts);
  experts.active = read_int(config, "num_experts_per_tok", 8, 1, experts.count);
  experts.inner = config.need_integer("moe_intermediate_size", 1, kMostSize);
  experts.shared_inner = experts.inner * config.integer("n_shared_experts", 0, 1, 64);
  experts.kind = Route::Kind::kSigmoid;
  if (config.text("scoring_func", "sigmoid") != "sigmoid") config.refuse("'scoring_func' is known as sigmoid alone");
  experts.choice_bias = true;
  experts.renormalise = config.flag("norm_topk_prob", true);
  experts.scale = static_cast<float>(config.number("routed_scaling_factor", 1));
  experts.groups = read_int(config, "n_group", 1, 1, experts.count);
  experts.active_groups = read_int(config, "topk_group", 1, 1, experts.groups);
  experts.group_best = 2;
  const auto first = static_cast<std::size_t>(config.integer("first_k_dense_replace", 0, 0, kMostLayers));
  const auto every = static_cast<std::size_t>(config.integer("moe_layer_freq", 1, 1, kMostLayers));
  for (std::size_t i = first; i < it.layers.size(); ++i) it.layers[i].experts = i % every == 0;
}

/// GPT-2 and what came of it.
void read_gpt(Config& config, Architecture& it) {
  it.hidden = config.need_integer("n_embd", 1, kMostSize);
  it.vocab = config.need_integer("vocab_size", 1, kMostSize);
  it.context = config.integer("n_positions", 1024, 1, kMostSize);
  it.layers.resize(static_cast<std::size_t>(config.need_integer("n_layer", 1, kMostLayers)));
  it.attention.heads = static_cast<int>(config.need_integer("n_head", 1, kMostHeads));
  it.attention.kv_heads = it.attention.heads;
  it.attention.head_dim = static_cast<int>(std::min<std::int64_t>(it.hidden / it.attention.heads, kMostHeadDim));
  it.attention.scale =
      config.flag("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<float>(it.attention.head_dim)) : 1;
  it.attention.qkv_bias = it.attention.out_bias = it.feed_forward.bias = true;
  it.feed_forward.gated = false;
  it.feed_forward.inner = config.integer("n_inner", 4 * it.hidden, 1, kMostSize);
  it.norm.layer = it.norm.bias = true;
  it.norm.eps = static_cast<float>(config.number("layer_norm_epsilon", 1e-5));
  it.learned_positions = it.context;
  it.tied = config.flag("tie_word_embeddings", true);
}

void gpt2(Config& config, Architecture& it) {
  read_gpt(config, it);
  it.feed_forward.activation = activation_of(config, config.text("activation_function", "gelu_new"));
  if (config.flag("scale_attn_by_inverse_layer_idx", false))
    config.refuse("'scale_attn_by_inverse_layer_idx' is not known here");
}

void gpt_bigcode(Config& config, Architecture& it) {
  read_gpt(config, it);
  it.feed_forward.activation = activation_of(config, config.text("activation_function", "gelu_pytorch_tanh"));
  if (config.flag("multi_query", true)) it.attention.kv_heads = 1;
}

struct Family {
  std::string_view name;
  void (*read)(Config&, Architecture&);
};
constexpr std::array kFamilies = {
    Family{"dbrx", dbrx},
    Family{"deepseek_v3", deepseek_v3},
    Family{"falcon", falcon},
    Family{"gemma", gemma},
    Family{"gemma2", gemma2},
    Family{"gpt2", gpt2},
    Family{"gpt_bigcode", gpt_bigcode},
    Family{"llama", llama},
    Family{"mistral", mistral},
    Family{"mixtral", mixtral},
    Family{"phi3", phi3},
    Family{"qwen2", qwen2},
    Family{"qwen3", qwen3},
    Family{"qwen3_moe", qwen3_moe},
    Family{"xverse", llama},
};

/// What must fit together whatever the family.
void check(Config& config, const Architecture& it) {
  const AttentionKind& attention = it.attention;
  if (attention.heads % attention.kv_heads != 0)
    config.refuse(std::to_string(attention.heads) + " heads cannot share " + std::to_string(attention.kv_heads) +
                  " key heads evenly");
  if (attention.head_dim < 1) config.refuse("has more heads than components");
  if (it.experts && it.experts->count % it.experts->groups != 0)
    config.refuse(std::to_string(it.experts->count) + " experts cannot be cut into " +
                  std::to_string(it.experts->groups) + " groups evenly");
  if (it.experts && it.experts->active > it.experts->count / it.experts->groups * it.experts->active_groups)
    config.refuse("a token's groups have fewer experts than it needs");
}

}  // namespace

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.name);
  return names;
}

Result<Architecture> read_architecture(std::string_view text, const std::string& name) {
  const nlohmann::json root = nlohmann::json::parse(text, nullptr, false);
  if (!root.is_object()) return Error{name + ": is no JSON object"};
  Config config(root, name);
  Architecture it;
  it.family = config.text("model_type", "");
  it.dtype = config.text("dtype", config.text("torch_dtype", "float32"));
  const auto family =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& f) { return f.name == it.family; });
  if (family == kFamilies.end()) {
    const std::vector<std::string> names = known_families();
    return Error{name + ": the model_type " + quote(it.family) + " is not known" + hint(it.family, names) +
                 "; known are " + join(names, ", ")};
  }
  family->read(config, it);
  if (!config.problem()) check(config, it);
  if (config.problem()) return *config.problem();
  return it;
}

Result<Architecture> open_architecture(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  std::ifstream in(path);
  if (!in) return Error{folder.string() + ": has no config.json that can be read"};
  std::ostringstream text;
  text << in.rdbuf();
  return read_architecture(text.str(), path.string());
}

}  // namespace orch::model
