#include "model/sources.h"

#include <algorithm>

#include "base/text.h"

namespace orch::model {
namespace {

constexpr std::int64_t kVocabPart = 64;

/// Integers are what other quantisations store, whose scales are not known here.
bool is_weight(Stored stored) {
  switch (stored) {
    case Stored::kF64:
    case Stored::kF32:
    case Stored::kF16:
    case Stored::kBf16:
    case Stored::kF8E4M3:
    case Stored::kF8E5M2:
      return true;
    default:
      return false;
  }
}

/// Takes tensors by name and remembers what was not as it should be.
class Finder {
 public:
  /// Without a checkpoint every tensor is there, and none has numbers.
  Finder(const Architecture& architecture, const Checkpoint* checkpoint, Shard of)
      : it(architecture), shard(of), checkpoint_(checkpoint) {}

  const Architecture& it;
  const Shard shard;

  /// Runs of one tensor of `rows` × `cols` (a vector: cols 1), of which the caller takes which he likes.
  Run whole(const std::string& name, std::int64_t rows, std::int64_t cols) {
    if (!checkpoint_) return {nullptr, nullptr, 0, rows, name, rows, cols};
    const Tensor* tensor = checkpoint_->find(name);
    if (!tensor) {
      missing_.push_back(name);
      return {};
    }
    const std::int64_t first = tensor->shape.empty() ? 1 : tensor->shape[0];
    if (first != rows || tensor->count() != rows * cols) {
      if (wrong_.empty())
        wrong_ = "tensor " + shown(name) + " is " + shape_text(tensor->shape) + ", and the configuration says " +
                 shape_text({rows, cols});
      return {};
    }
    if (wrong_.empty() && !is_weight(tensor->stored))
      wrong_ = "tensor " + shown(name) + " is stored as " + std::string(name_of(tensor->stored)) +
               ": weights are known as F32, F16, BF16, F64, and as fp8 with scales";
    Run run{tensor, nullptr, 0, rows, name, rows, cols};
    if (tensor->stored == Stored::kF8E4M3 || tensor->stored == Stored::kF8E5M2)
      run.scales = scales_of(name, rows, cols);
    return run;
  }
  Source rows(const std::string& name, std::int64_t rows, std::int64_t cols, Part part) {
    Run run = whole(name, rows, cols);
    if (run.count == 0) return {};
    run.first = part.first, run.count = part.count;
    return {{run}, 0, cols, false};
  }
  /// Of a row-parallel weight: some columns of all rows.
  Source cols(const std::string& name, std::int64_t rows, std::int64_t cols, Part part) {
    const Run run = whole(name, rows, cols);
    if (run.count == 0) return {};
    return {{run}, part.first, part.count, false, cols};
  }
  Source vector(const std::string& name, std::int64_t n) { return rows(name, n, 1, {0, n}); }
  Source vector(const std::string& name, std::int64_t n, Part part) { return rows(name, n, 1, part); }
  bool has(const std::string& name) const { return !checkpoint_ || checkpoint_->has(name); }

  NormSource norm(const std::string& name, std::int64_t n, bool bias) {
    NormSource norm;
    norm.weight = vector(name + ".weight", n);
    if (bias) norm.bias = vector(name + ".bias", n);
    return norm;
  }

  std::optional<Error> problem() const {
    if (!missing_.empty()) {
      std::vector<std::string> names(
          missing_.begin(), missing_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, missing_.size())));
      std::string text = "has no tensor " + join(names, ", ");
      if (missing_.size() > names.size()) text += " and " + std::to_string(missing_.size() - names.size()) + " more";
      return Error{text + ", which a model of the family " + quote(it.family) + " has"};
    }
    if (!wrong_.empty()) return Error{wrong_};
    return std::nullopt;
  }

 private:
  const Tensor* scales_of(const std::string& name, std::int64_t rows, std::int64_t cols) {
    const std::string_view stem = std::string_view(name).substr(0, name.rfind(".weight"));
    for (const char* ending : {".weight_scale_inv", ".weight_scale"}) {
      const Tensor* scales = checkpoint_->find(std::string(stem) + ending);
      if (!scales) continue;
      const std::int64_t count = scales->count();
      if (count == 1 || (count == rows && (scales->shape.size() == 1 || scales->shape[1] == 1))) return scales;
      const std::vector<std::int64_t> blocks = {(rows + 127) / 128, (cols + 127) / 128};
      if (scales->shape == blocks) return scales;
      if (wrong_.empty())
        wrong_ = "the scales of tensor " + shown(name) + " are " + shape_text(scales->shape) +
                 ": known are one, one a row, and one for each 128 × 128";
      return nullptr;
    }
    missing_.push_back(std::string(stem) + ".weight_scale");
    return nullptr;
  }

  const Checkpoint* checkpoint_;
  std::vector<std::string> missing_;
  std::string wrong_;
};

/// A part of what a run of all has.
Run of(Run all, Part part) {
  all.first = part.first, all.count = part.count;
  return all;
}

/// How a fused projection orders its rows.
enum class Joined {
  kByKind,   ///< queries, keys, values
  kByGroup,  ///< of each head of the cache: its queries, its key, its value
};

/// This rank's rows of a fused projection, as runs of a tensor that has all of them.
std::vector<Run> joined_runs(const Finder& find, const Run& all, Joined joined) {
  if (all.count == 0) return {};
  const AttentionKind& attention = find.it.attention;
  const Part heads = heads_of(attention, find.shard), kv = kv_heads_of(attention, find.shard);
  const std::int64_t dim = attention.head_dim, group = attention.heads / attention.kv_heads;
  std::vector<Run> runs;
  const auto add = [&](std::int64_t first, std::int64_t count) { runs.push_back(of(all, {first * dim, count * dim})); };
  if (joined == Joined::kByKind) {
    add(heads.first, heads.count);
    add(attention.heads + kv.first, kv.count);
    add(attention.heads + attention.kv_heads + kv.first, kv.count);
    return runs;
  }
  for (std::int64_t h = heads.first; h < heads.first + heads.count; ++h) add(h / group * (group + 2) + h % group, 1);
  for (std::int64_t of : {group, group + 1})
    for (std::int64_t h = kv.first; h < kv.first + kv.count; ++h) add(h * (group + 2) + of, 1);
  return runs;
}

void add_joined(Finder& find, LayerSources& layer, const std::string& name, Joined joined, bool transposed = false) {
  const AttentionKind& attention = find.it.attention;
  const std::int64_t all = static_cast<std::int64_t>(attention.heads + 2 * attention.kv_heads) * attention.head_dim;
  const Run run = transposed ? find.whole(name + ".weight", find.it.hidden, all)
                             : find.whole(name + ".weight", all, find.it.hidden);
  layer.qkv = {joined_runs(find, run, joined), 0, find.it.hidden, transposed};
  if (attention.qkv_bias) layer.qkv_bias = {joined_runs(find, find.whole(name + ".bias", all, 1), joined), 0, 1, false};
}

void add_separate(Finder& find, LayerSources& layer, const std::string& prefix) {
  const AttentionKind& attention = find.it.attention;
  const std::int64_t dim = attention.head_dim;
  const Part heads = heads_of(attention, find.shard), kv = kv_heads_of(attention, find.shard);
  layer.qkv.cols = find.it.hidden;
  layer.qkv_bias.cols = 1;
  for (const auto& [name, count, part] :
       {std::tuple("q_proj", attention.heads, heads), std::tuple("k_proj", attention.kv_heads, kv),
        std::tuple("v_proj", attention.kv_heads, kv)}) {
    Run run = find.whole(prefix + name + ".weight", count * dim, find.it.hidden);
    run.first = part.first * dim, run.count = part.count * dim;
    layer.qkv.runs.push_back(run);
    if (!attention.qkv_bias) continue;
    run = find.whole(prefix + name + ".bias", count * dim, 1);
    run.first = part.first * dim, run.count = part.count * dim;
    layer.qkv_bias.runs.push_back(run);
  }
}

void add_out(Finder& find, LayerSources& layer, const std::string& name) {
  const AttentionKind& attention = find.it.attention;
  const Part heads = heads_of(attention, find.shard);
  const std::int64_t dim = attention.latent ? attention.latent->value_dim : attention.head_dim;
  layer.out =
      find.cols(name + ".weight", find.it.hidden, attention.heads * dim, {heads.first * dim, heads.count * dim});
  if (attention.out_bias) layer.out_bias = find.vector(name + ".bias", find.it.hidden);
}

/// Gates and values of one feed-forward as one source.
Source gated(Source gates, const Source& values) {
  gates.runs.insert(gates.runs.end(), values.runs.begin(), values.runs.end());
  return gates;
}

struct UpDown {
  Source up, down;
};
UpDown gated_feed_forward(Finder& find, std::int64_t inner, Part part, const std::string& gate, const std::string& up,
                          const std::string& down) {
  return {gated(find.rows(gate, inner, find.it.hidden, part), find.rows(up, inner, find.it.hidden, part)),
          find.cols(down, find.it.hidden, inner, part)};
}

void add_feed_forward(Finder& find, LayerSources& layer, const std::string& prefix) {
  const std::int64_t inner = find.it.feed_forward.inner;
  const Part part = part_of(inner, find.shard);
  UpDown both = gated_feed_forward(find, inner, part, prefix + "gate_proj.weight", prefix + "up_proj.weight",
                                   prefix + "down_proj.weight");
  layer.up = std::move(both.up);
  layer.down = std::move(both.down);
  if (!find.it.feed_forward.bias) return;
  layer.up_bias =
      gated(find.vector(prefix + "gate_proj.bias", inner, part), find.vector(prefix + "up_proj.bias", inner, part));
  layer.down_bias = find.vector(prefix + "down_proj.bias", find.it.hidden);
}

/// Experts of this rank, each under a name of its own.
void add_experts(Finder& find, LayerSources& layer, ExpertNames names) {
  const ExpertsKind& experts = *find.it.experts;
  const Part part = part_of(experts.count, find.shard);
  names.all = experts.count;
  names.hidden = find.it.hidden;
  names.inner = experts.inner;
  names.own = part;
  layer.experts = names;
  for (std::int64_t e = part.first; e < part.first + part.count; ++e) {
    const std::string name = names.single + std::to_string(e) + ".";
    UpDown both = gated_feed_forward(find, experts.inner, {0, experts.inner}, name + names.gate + ".weight",
                                     name + names.up + ".weight", name + names.down + ".weight");
    layer.experts_up.push_back(std::move(both.up));
    layer.experts_down.push_back(std::move(both.down));
  }
}

LayerSources llama_layer(Finder& find, const std::string& prefix, const Layer& kind) {
  const Architecture& it = find.it;
  LayerSources layer;
  layer.attention_norm = find.norm(prefix + "input_layernorm", it.hidden, it.norm.bias);
  if (it.post_norms) {
    layer.attention_post_norm = find.norm(prefix + "post_attention_layernorm", it.hidden, it.norm.bias);
    layer.feed_forward_norm = find.norm(prefix + "pre_feedforward_layernorm", it.hidden, it.norm.bias);
    layer.feed_forward_post_norm = find.norm(prefix + "post_feedforward_layernorm", it.hidden, it.norm.bias);
  } else {
    layer.feed_forward_norm = find.norm(prefix + "post_attention_layernorm", it.hidden, it.norm.bias);
  }
  if (it.family == "phi3")
    add_joined(find, layer, prefix + "self_attn.qkv_proj", Joined::kByKind);
  else
    add_separate(find, layer, prefix + "self_attn.");
  if (it.attention.head_norms) {
    layer.q_norm = find.norm(prefix + "self_attn.q_norm", it.attention.head_dim, false);
    layer.k_norm = find.norm(prefix + "self_attn.k_norm", it.attention.head_dim, false);
  }
  add_out(find, layer, prefix + "self_attn.o_proj");
  if (!kind.experts) {
    if (it.family != "phi3") {
      add_feed_forward(find, layer, prefix + "mlp.");
      return layer;
    }
    const std::int64_t inner = it.feed_forward.inner;
    const Part part = part_of(inner, find.shard);
    const std::string both = prefix + "mlp.gate_up_proj.weight";
    layer.up = gated(find.rows(both, 2 * inner, it.hidden, part),
                     find.rows(both, 2 * inner, it.hidden, {inner + part.first, part.count}));
    layer.down = find.cols(prefix + "mlp.down_proj.weight", it.hidden, inner, part);
    return layer;
  }
  const Part all{0, it.experts->count};
  if (it.family == "mixtral") {
    layer.router = find.rows(prefix + "block_sparse_moe.gate.weight", it.experts->count, it.hidden, all);
    add_experts(find, layer, {prefix + "mlp.experts", prefix + "block_sparse_moe.experts.", "w1", "w3", "w2"});
  } else {
    layer.router = find.rows(prefix + "mlp.gate.weight", it.experts->count, it.hidden, all);
    add_experts(find, layer, {prefix + "mlp.experts", prefix + "mlp.experts.", "gate_proj", "up_proj", "down_proj"});
  }
  return layer;
}

LayerSources deepseek_layer(Finder& find, const std::string& prefix, const Layer& kind) {
  const Architecture& it = find.it;
  const LatentKind& latent = *it.attention.latent;
  const Part heads = heads_of(it.attention, find.shard);
  LayerSources layer;
  layer.attention_norm = find.norm(prefix + "input_layernorm", it.hidden, false);
  layer.feed_forward_norm = find.norm(prefix + "post_attention_layernorm", it.hidden, false);
  const std::string attention = prefix + "self_attn.";
  const std::int64_t q_dim = latent.nope_dim + latent.rope_dim;
  const Part q_rows{heads.first * q_dim, heads.count * q_dim};
  if (latent.q_rank > 0) {
    layer.latent.q_a = find.rows(attention + "q_a_proj.weight", latent.q_rank, it.hidden, {0, latent.q_rank});
    layer.latent.q_norm = find.norm(attention + "q_a_layernorm", latent.q_rank, false);
    layer.latent.q_b = find.rows(attention + "q_b_proj.weight", it.attention.heads * q_dim, latent.q_rank, q_rows);
  } else {
    layer.latent.q_b = find.rows(attention + "q_proj.weight", it.attention.heads * q_dim, it.hidden, q_rows);
  }
  const std::int64_t kv = latent.kv_rank + latent.rope_dim, each = latent.nope_dim + latent.value_dim;
  layer.latent.kv_a = find.rows(attention + "kv_a_proj_with_mqa.weight", kv, it.hidden, {0, kv});
  layer.latent.kv_norm = find.norm(attention + "kv_a_layernorm", latent.kv_rank, false);
  const Run up = find.whole(attention + "kv_b_proj.weight", it.attention.heads * each, latent.kv_rank);
  if (up.count > 0)
    for (std::int64_t h = heads.first; h < heads.first + heads.count; ++h) {
      layer.latent.key_up.push_back({{of(up, {0, latent.kv_rank})}, h * each, latent.nope_dim, true});
      layer.latent.value_up.push_back(
          {{of(up, {h * each + latent.nope_dim, latent.value_dim})}, 0, latent.kv_rank, false});
    }
  add_out(find, layer, attention + "o_proj");
  if (!kind.experts) {
    add_feed_forward(find, layer, prefix + "mlp.");
    return layer;
  }
  layer.router = find.rows(prefix + "mlp.gate.weight", it.experts->count, it.hidden, {0, it.experts->count});
  layer.choice_bias = find.vector(prefix + "mlp.gate.e_score_correction_bias", it.experts->count);
  add_experts(find, layer, {prefix + "mlp.experts", prefix + "mlp.experts.", "gate_proj", "up_proj", "down_proj"});
  if (it.experts->shared_inner > 0) {
    const std::string shared = prefix + "mlp.shared_experts.";
    UpDown both =
        gated_feed_forward(find, it.experts->shared_inner, part_of(it.experts->shared_inner, find.shard),
                           shared + "gate_proj.weight", shared + "up_proj.weight", shared + "down_proj.weight");
    layer.shared_up = std::move(both.up);
    layer.shared_down = std::move(both.down);
  }
  return layer;
}

/// Two projections without a gate.
void add_plain(Finder& find, LayerSources& layer, const std::string& up, const std::string& down, bool transposed) {
  const std::int64_t inner = find.it.feed_forward.inner, hidden = find.it.hidden;
  const Part part = part_of(inner, find.shard);
  if (transposed) {
    layer.up = find.rows(up + ".weight", hidden, inner, {0, hidden});
    layer.up = {layer.up.runs, 0, hidden, true};
    for (Run& run : layer.up.runs) run.first = part.first, run.count = part.count;
    layer.down = find.rows(down + ".weight", inner, hidden, {0, inner});
    layer.down = {layer.down.runs, part.first, part.count, true, inner};
    for (Run& run : layer.down.runs) run.first = 0, run.count = hidden;
  } else {
    layer.up = find.rows(up + ".weight", inner, hidden, part);
    layer.down = find.cols(down + ".weight", hidden, inner, part);
  }
  if (!find.it.feed_forward.bias) return;
  layer.up_bias = find.vector(up + ".bias", inner, part);
  layer.down_bias = find.vector(down + ".bias", hidden);
}

LayerSources falcon_layer(Finder& find, const std::string& prefix, const Layer&) {
  const Architecture& it = find.it;
  LayerSources layer;
  if (it.parallel_norms) {
    layer.attention_norm = find.norm(prefix + "ln_attn", it.hidden, true);
    layer.feed_forward_norm = find.norm(prefix + "ln_mlp", it.hidden, true);
  } else {
    layer.attention_norm = find.norm(prefix + "input_layernorm", it.hidden, true);
    if (!it.parallel) layer.feed_forward_norm = find.norm(prefix + "post_attention_layernorm", it.hidden, true);
  }
  add_joined(find, layer, prefix + "self_attention.query_key_value", Joined::kByGroup);
  add_out(find, layer, prefix + "self_attention.dense");
  add_plain(find, layer, prefix + "mlp.dense_h_to_4h", prefix + "mlp.dense_4h_to_h", false);
  return layer;
}

LayerSources gpt_layer(Finder& find, const std::string& prefix, const Layer&) {
  const Architecture& it = find.it;
  const bool conv = it.family == "gpt2";  // its linear layers are stored as convolutions: inputs × outputs
  LayerSources layer;
  layer.attention_norm = find.norm(prefix + "ln_1", it.hidden, true);
  layer.feed_forward_norm = find.norm(prefix + "ln_2", it.hidden, true);
  add_joined(find, layer, prefix + "attn.c_attn", conv ? Joined::kByKind : Joined::kByGroup, conv);
  add_out(find, layer, prefix + "attn.c_proj");
  if (conv) {
    const Part heads = heads_of(it.attention, find.shard);
    layer.out.transposed = true;
    layer.out.from = heads.first * it.attention.head_dim;
    layer.out.cols = heads.count * it.attention.head_dim;
  }
  add_plain(find, layer, prefix + "mlp.c_fc", prefix + "mlp.c_proj", conv);
  return layer;
}

LayerSources dbrx_layer(Finder& find, const std::string& prefix, const Layer&) {
  const Architecture& it = find.it;
  LayerSources layer;
  layer.attention_norm = find.norm(prefix + "norm_attn_norm.norm_1", it.hidden, false);
  layer.feed_forward_norm = find.norm(prefix + "norm_attn_norm.norm_2", it.hidden, false);
  add_joined(find, layer, prefix + "norm_attn_norm.attn.Wqkv", Joined::kByKind);
  add_out(find, layer, prefix + "norm_attn_norm.attn.out_proj");
  const ExpertsKind& experts = *it.experts;
  layer.router = find.rows(prefix + "ffn.router.layer.weight", experts.count, it.hidden, {0, experts.count});
  const std::string all = prefix + "ffn.experts.mlp.";
  const std::int64_t inner = experts.inner;
  const Part part = part_of(experts.count, find.shard);
  const Run down = find.whole(all + "w2", experts.count * inner, it.hidden);
  for (std::int64_t e = part.first; e < part.first + part.count; ++e) {
    const Part own{e * inner, inner};
    layer.experts_up.push_back(gated(find.rows(all + "w1", experts.count * inner, it.hidden, own),
                                     find.rows(all + "v1", experts.count * inner, it.hidden, own)));
    layer.experts_down.push_back({{of(down, {0, it.hidden})}, e * inner, inner, true});
  }
  return layer;
}

/// What the parts outside of the layers are called.
struct Frame {
  const char *embedding, *positions, *layer, *norm;
};
Frame frame_of(const Finder& find) {
  const std::string& family = find.it.family;
  if (family == "falcon") return {"transformer.word_embeddings.weight", "", "transformer.h.", "transformer.ln_f"};
  if (family == "dbrx") return {"transformer.wte.weight", "", "transformer.blocks.", "transformer.norm_f"};
  if (family == "gpt2" || family == "gpt_bigcode") {
    // GPT-2 itself was published without the prefix.
    if (find.has("wte.weight")) return {"wte.weight", "wpe.weight", "h.", "ln_f"};
    return {"transformer.wte.weight", "transformer.wpe.weight", "transformer.h.", "transformer.ln_f"};
  }
  return {"model.embed_tokens.weight", "", "model.layers.", "model.norm"};
}

LayerSources layer_of(Finder& find, const std::string& prefix, const Layer& kind) {
  const std::string& family = find.it.family;
  if (family == "falcon") return falcon_layer(find, prefix, kind);
  if (family == "dbrx") return dbrx_layer(find, prefix, kind);
  if (family == "deepseek_v3") return deepseek_layer(find, prefix, kind);
  if (family == "gpt2" || family == "gpt_bigcode") return gpt_layer(find, prefix, kind);
  return llama_layer(find, prefix, kind);
}

}  // namespace

namespace {

Part even(std::int64_t count, int part, int parts) {
  const std::int64_t first = count * part / parts;
  return {first, count * (part + 1) / parts - first};
}

}  // namespace

Part part_of(std::int64_t count, Shard shard) { return even(count, shard.rank, shard.ranks); }

Part stage_layers(const Architecture& it, int stage, int stages) {
  return even(static_cast<std::int64_t>(it.layers.size()), stage, stages);
}

Part layers_of(const Architecture& it, Shard shard) {
  return shard.stages == 1 ? stage_layers(it, 0, 1) : shard.layers;
}

Result<bool> check_shard(const Architecture& it, Shard shard) {
  const AttentionKind& attention = it.attention;
  const auto cannot = [&](const std::string& why) {
    return Error{"cannot be cut over " + std::to_string(shard.ranks) + " ranks: " + why};
  };
  if (attention.heads % shard.ranks != 0) return cannot("it has " + std::to_string(attention.heads) + " heads");
  if (!attention.latent && attention.kv_heads % shard.ranks != 0 && shard.ranks % attention.kv_heads != 0)
    return cannot("it has " + std::to_string(attention.kv_heads) + " heads of keys and values");
  if (it.experts && it.experts->count % shard.ranks != 0 && it.experts->count > shard.ranks)
    return cannot("it has " + std::to_string(it.experts->count) + " experts");
  if (static_cast<std::size_t>(shard.stages) > it.layers.size())
    return Error{"cannot be cut into " + std::to_string(shard.stages) + " stages: it has " +
                 std::to_string(it.layers.size()) + " layers"};
  return true;
}

Part heads_of(const AttentionKind& attention, Shard shard) { return part_of(attention.heads, shard); }

Part kv_heads_of(const AttentionKind& attention, Shard shard) {
  if (attention.kv_heads >= shard.ranks) return part_of(attention.kv_heads, shard);
  return {static_cast<std::int64_t>(attention.kv_heads) * shard.rank / shard.ranks, 1};
}

Part vocab_of(std::int64_t vocab, Shard shard) {
  const std::int64_t each = (vocab + shard.ranks * kVocabPart - 1) / (shard.ranks * kVocabPart) * kVocabPart;
  const std::int64_t first = std::min(vocab, each * shard.rank);
  return {first, std::min(vocab, first + each) - first};
}

namespace {

Sources sources_of(Finder& find) {
  const Architecture& it = find.it;
  const Shard shard = find.shard;
  const Frame frame = frame_of(find);
  Sources sources;
  const Part vocab = vocab_of(it.vocab, shard);
  // Some checkpoints of tied models have the weights under the head's name.
  const std::string embedding = it.tied && !find.has(frame.embedding) ? "lm_head.weight" : frame.embedding;
  if (shard.begins() || it.tied) sources.embedding = find.rows(embedding, it.vocab, it.hidden, vocab);
  if (shard.begins() && it.learned_positions > 0)
    sources.positions = find.rows(frame.positions, it.learned_positions, it.hidden, {0, it.learned_positions});
  const Part layers = layers_of(it, shard);
  for (std::int64_t i = layers.first; i < layers.first + layers.count; ++i)
    sources.layers.push_back(
        layer_of(find, frame.layer + std::to_string(i) + ".", it.layers[static_cast<std::size_t>(i)]));
  if (shard.ends()) {
    sources.norm = find.norm(frame.norm, it.hidden, it.norm.bias);
    sources.head = it.tied ? sources.embedding : find.rows("lm_head.weight", it.vocab, it.hidden, vocab);
    if (it.head_bias) sources.head_bias = find.vector("lm_head.bias", it.vocab, vocab);
  }
  return sources;
}

}  // namespace

Result<Sources> find_sources(const Architecture& it, const Checkpoint& checkpoint, Shard shard) {
  Finder find(it, &checkpoint, shard);
  Sources sources = sources_of(find);
  if (const auto problem = find.problem()) return *problem;
  return sources;
}

Sources shapes_of(const Architecture& it, Shard shard) {
  Finder find(it, nullptr, shard);
  return sources_of(find);
}

std::vector<const Source*> parameter_sources(const Architecture& it, const Sources& sources) {
  std::vector<const Source*> all;
  const auto add = [&](const Source& source) {
    if (!source.empty()) all.push_back(&source);
  };
  const auto add_norm = [&](const NormSource& norm) {
    add(norm.weight);
    add(norm.bias);
  };
  add(sources.embedding);
  add(sources.positions);
  add_norm(sources.norm);
  if (!it.tied) add(sources.head);
  add(sources.head_bias);
  for (const LayerSources& layer : sources.layers) {
    for (const NormSource* norm :
         {&layer.attention_norm, &layer.feed_forward_norm, &layer.attention_post_norm, &layer.feed_forward_post_norm,
          &layer.q_norm, &layer.k_norm, &layer.latent.q_norm, &layer.latent.kv_norm})
      add_norm(*norm);
    for (const Source* source : {&layer.qkv, &layer.qkv_bias, &layer.out, &layer.out_bias, &layer.latent.q_a,
                                 &layer.latent.q_b, &layer.latent.kv_a, &layer.up, &layer.up_bias, &layer.down,
                                 &layer.down_bias, &layer.router, &layer.shared_up, &layer.shared_down})
      add(*source);
    for (const auto* stack : {&layer.latent.key_up, &layer.latent.value_up, &layer.experts_up, &layer.experts_down})
      for (const Source& source : *stack) add(source);
  }
  return all;
}

std::int64_t parameters_of(const Architecture& it, const Sources& sources) {
  std::int64_t total = 0;
  for (const Source* source : parameter_sources(it, sources)) total += source->rows() * source->cols;
  return total;
}

}  // namespace orch::model
