// All sums are in double: whatever sizes a file holds, they stay finite (the readers bound each factor).
#include "base/memory.h"

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace orch {
namespace {

// Measured on nothing of ours yet: what the CUDA context with cuBLAS, cuDNN and the kernels of a worker takes, and the
// buffers that NCCL opens between ranks. The worker's telemetry will correct them.
constexpr double kContextBytes = 0.75 * kGiB;
constexpr double kCommunicationBytes = 0.5 * kGiB;
constexpr double kFragmentation = 0.03;  ///< of everything else

constexpr double kScaleBytes = 4;       ///< an fp32 scale of a row or block of 8-bit weights
constexpr double kBlock = 128;          ///< side of a scaled block
constexpr double kGroupScaleBytes = 2;  ///< a 16-bit scale for each group of 128 int4 weights

constexpr double kDrawnRows = 32;   ///< sequences whose logits are held at once when tokens are drawn
constexpr double kLossRows = 1024;  ///< positions whose logits are made at once in training
constexpr double kCacheScale = 4;  ///< bytes: an 8-bit cache has an fp32 scale for each token's key and value of a head

double real(std::int64_t value) { return static_cast<double>(value); }
double share(double value, int ranks) { return std::ceil(value / std::max(1, ranks)); }

/// What stays in 16 bits (32 if the weights do) whatever the linear layers are stored in: embedding, head, norms,
/// router, biases.
double kept_bytes(DType dtype) { return dtype == DType::kFp32 ? 4 : 2; }

Scales scales_for(const Model& model, DType dtype) {
  if (dtype == model.dtype) return model.scales;
  return bytes_of(dtype) <= 1 ? Scales::kChannel : Scales::kNone;  // made on load: one scale an output row
}

/// How one linear layer of `in` inputs and `out` outputs is counted.
struct Linear {
  DType dtype;
  Scales scales;
  double operator()(double in, double out) const {
    double bytes = in * out * bytes_of(dtype);
    if (dtype == DType::kInt4) return bytes + std::ceil(in / kBlock) * out * kGroupScaleBytes;
    if (bytes_of(dtype) > 1) return bytes;
    if (scales == Scales::kChannel) bytes += out * kScaleBytes;
    if (scales == Scales::kBlock128) bytes += std::ceil(in / kBlock) * std::ceil(out / kBlock) * kScaleBytes;
    return bytes;
  }
};

/// A linear layer of a decoder layer, whole and as one rank of `tp` holds it.
struct Matrix {
  double in, out;
  double in_local, out_local;
  double copies = 1;        ///< experts of this shape
  double copies_local = 1;  ///< of them, on this rank
};

std::vector<Matrix> matrices(const Decoder& decoder, bool experts_here, int tp) {
  const double hidden = real(decoder.hidden), heads = decoder.heads, my_heads = share(heads, tp);
  std::vector<Matrix> all;
  if (decoder.latent) {
    const Latent& latent = *decoder.latent;
    const double head = real(latent.nope_dim) + real(latent.rope_dim), q_rank = real(latent.q_rank);
    const double kv_rank = real(latent.kv_rank), compressed = kv_rank + real(latent.rope_dim);
    const double opened = real(latent.nope_dim) + real(latent.value_dim), value = real(latent.value_dim);
    if (latent.q_rank > 0) {
      all.push_back({hidden, q_rank, hidden, q_rank});  // down-projections are whole on each rank
      all.push_back({q_rank, heads * head, q_rank, my_heads * head});
    } else {
      all.push_back({hidden, heads * head, hidden, my_heads * head});
    }
    all.push_back({hidden, compressed, hidden, compressed});
    all.push_back({kv_rank, heads * opened, kv_rank, my_heads * opened});
    all.push_back({heads * value, hidden, my_heads * value, hidden});
  } else {
    const double dim = real(decoder.head_dim), kv = decoder.kv_heads * dim,
                 my_kv = kv_heads_per_rank(decoder, tp) * dim;
    all.push_back({hidden, heads * dim, hidden, my_heads * dim});
    all.push_back({hidden, kv, hidden, my_kv});
    all.push_back({hidden, kv, hidden, my_kv});
    all.push_back({heads * dim, hidden, my_heads * dim, hidden});
  }
  const auto feed_forward = [&](double ffn, double my_ffn, double copies, double my_copies) {
    all.push_back({hidden, ffn, hidden, my_ffn, copies, my_copies});
    if (decoder.gated_ffn) all.push_back({hidden, ffn, hidden, my_ffn, copies, my_copies});
    all.push_back({ffn, hidden, my_ffn, hidden, copies, my_copies});
  };
  if (!experts_here) {
    feed_forward(real(decoder.ffn), share(real(decoder.ffn), tp), 1, 1);
    return all;
  }
  const Experts& experts = *decoder.experts;
  const double ffn = real(experts.ffn);
  if (experts.count % std::max(1, tp) == 0)
    feed_forward(ffn, ffn, experts.count, experts.count / std::max(1, tp));
  else
    feed_forward(ffn, share(ffn, tp), experts.count, experts.count);
  if (experts.shared_ffn > 0) feed_forward(real(experts.shared_ffn), share(real(experts.shared_ffn), tp), 1, 1);
  return all;
}

double norm_width(const Decoder& decoder) {
  return real(decoder.hidden) * (decoder.layer_norm && decoder.norm_bias ? 2 : 1);
}

/// Parameters of one layer on one rank that are in no linear layer: norms, router, biases.
double small_params(const Decoder& decoder, bool experts_here, int tp) {
  const double hidden = real(decoder.hidden), my_heads = share(decoder.heads, tp);
  double count = decoder.norms * norm_width(decoder);
  if (decoder.latent) {
    count += real(decoder.latent->q_rank) + real(decoder.latent->kv_rank);
  } else {
    if (decoder.qkv_bias) count += (my_heads + 2.0 * kv_heads_per_rank(decoder, tp)) * real(decoder.head_dim);
    if (decoder.qk_norm) count += 2 * real(decoder.head_dim);
  }
  if (decoder.out_bias) count += hidden;
  const auto ffn_bias = [&](double ffn) { return ffn * (decoder.gated_ffn ? 2 : 1) + hidden; };
  if (!experts_here) return count + (decoder.ffn_bias ? ffn_bias(share(real(decoder.ffn), tp)) : 0);
  const Experts& experts = *decoder.experts;
  count += hidden * experts.count + (experts.router_bias ? experts.count : 0);
  if (decoder.ffn_bias) {
    const bool whole = experts.count % std::max(1, tp) == 0;
    count += whole ? experts.count / std::max(1, tp) * ffn_bias(real(experts.ffn))
                   : experts.count * ffn_bias(share(real(experts.ffn), tp));
    if (experts.shared_ffn > 0) count += ffn_bias(share(real(experts.shared_ffn), tp));
  }
  return count;
}

/// A quantity of one layer, for layers with and without experts: computed once, then summed over the layers of a stage.
struct PerLayer {
  double dense = 0;
  double sparse = 0;
  double of(const Decoder& decoder, int layer) const { return decoder.has_experts(layer) ? sparse : dense; }
};

template <class F>
PerLayer per_layer(const Decoder& decoder, F quantity) {
  PerLayer both;
  both.dense = quantity(false);
  if (decoder.experts) both.sparse = quantity(true);
  return both;
}

/// Bytes of one rank's share of a layer's weights.
PerLayer layer_weights(const Model& model, DType dtype, int tp) {
  const Decoder& decoder = *model.decoder;
  const Linear linear{dtype, scales_for(model, dtype)};
  return per_layer(decoder, [&](bool experts_here) {
    double bytes = small_params(decoder, experts_here, tp) * kept_bytes(dtype);
    for (const Matrix& m : matrices(decoder, experts_here, tp))
      bytes += m.copies_local * linear(m.in_local, m.out_local);
    return bytes;
  });
}

/// Parameters outside the layers on one rank: embedding and vision tower in the first stage, last norm and head in the
/// last.
double outside_params(const Model& model, int tp, bool first, bool last) {
  const Decoder& decoder = *model.decoder;
  const double hidden = real(decoder.hidden);
  const double table = share(real(decoder.vocab), tp) * hidden;  // rows are split, the last rank's padded
  double count = 0;
  if (first) {
    count += table + real(decoder.positions) * hidden + (decoder.embedding_norm ? norm_width(decoder) : 0);
    if (model.vision) count += vision_splits(*model.vision, tp) ? model.vision->params / tp : model.vision->params;
  }
  if (last) {
    if (decoder.norms > 0) count += norm_width(decoder);
    if (!(decoder.tied && first)) count += table;  // a tied head in a stage of its own needs the table again
  }
  return count;
}

/// The stages of a pipeline: their first layer, the layer after their last.
struct Stage {
  int begin, end;
  bool first, last;
  int number;
};

std::vector<Stage> stages_of(const Decoder& decoder, int pp) {
  std::vector<Stage> stages;
  int begin = 0;
  const std::vector<int> split = split_layers(decoder, pp);
  for (std::size_t i = 0; i < split.size(); ++i) {
    stages.push_back({begin, begin + split[i], i == 0, i + 1 == split.size(), static_cast<int>(i)});
    begin += split[i];
  }
  return stages;
}

double sum_over(const Stage& stage, const Decoder& decoder, const PerLayer& quantity) {
  double sum = 0;
  for (int layer = stage.begin; layer < stage.end; ++layer) sum += quantity.of(decoder, layer);
  return sum;
}

double stage_weights(const Model& model, const Stage& stage, DType dtype, int tp, const PerLayer& layers) {
  return sum_over(stage, *model.decoder, layers) +
         outside_params(model, tp, stage.first, stage.last) * kept_bytes(dtype);
}

bool is_windowed(const Decoder& decoder, int layer) {
  return decoder.window > 0 && !(decoder.full_every > 0 && (layer + 1) % decoder.full_every == 0);
}

/// KV bytes of one token in one layer on one rank.
double kv_bytes_per_layer(const Decoder& decoder, DType kv, int tp) {
  const double scale = kv == DType::kFp8 ? kCacheScale : 0;
  if (decoder.latent) return (real(decoder.latent->kv_rank) + real(decoder.latent->rope_dim)) * bytes_of(kv) + scale;
  return 2.0 * kv_heads_per_rank(decoder, tp) * (real(decoder.head_dim) * bytes_of(kv) + scale);
}

double stage_kv(const Decoder& decoder, const Stage& stage, DType kv, int tp, double tokens, double batch) {
  return (stage.end - stage.begin) * tokens * batch * kv_bytes_per_layer(decoder, kv, tp);
}

/// Elements of one token that the attention of a layer has at hand on one rank when it infers: the fused projection,
/// the queries that go to the cache, what comes back. Latent attention has the last two in the cache's components.
double attention_room(const Decoder& decoder, int tp) {
  const double my_heads = share(decoder.heads, tp);
  if (!decoder.latent) return (3 * my_heads + 2.0 * kv_heads_per_rank(decoder, tp)) * real(decoder.head_dim);
  const Latent& latent = *decoder.latent;
  const double kept = real(latent.kv_rank) + real(latent.rope_dim);
  return real(latent.q_rank) + kept +
         my_heads * (real(latent.nope_dim) + real(latent.rope_dim) + kept + real(latent.kv_rank));
}

/// Elements of one token between the two products of a layer's feed-forward, or of its shared experts, on one rank.
double ffn_room(const Decoder& decoder, bool experts_here, int tp) {
  return share(real(experts_here ? decoder.experts->shared_ffn : decoder.ffn), tp);
}

/// Bytes of one token that the experts of a layer have at hand on one rank when it infers: what the router says, in
/// fp32, and each choice's place and results until they are summed. A rank must have room for all choices, whichever
/// experts they are.
double experts_room(const Decoder& decoder, int tp, double number) {
  const Experts& experts = *decoder.experts;
  const bool whole = experts.count % std::max(1, tp) == 0;
  const double inner = whole ? real(experts.ffn) : share(real(experts.ffn), tp);
  return 4.0 * experts.count + experts.active * (number * inner + 4 * real(decoder.hidden) + 12);
}

/// Elements of one token that the attention of a layer has at hand on one rank when it trains: queries, keys, values,
/// heads' output.
double attention_width(const Decoder& decoder, int tp) {
  const double my_heads = share(decoder.heads, tp);
  if (!decoder.latent) return (2 * my_heads + 2.0 * kv_heads_per_rank(decoder, tp)) * real(decoder.head_dim);
  const Latent& latent = *decoder.latent;
  return real(latent.q_rank) + real(latent.kv_rank) + real(latent.rope_dim) +
         my_heads * (2 * (real(latent.nope_dim) + real(latent.rope_dim)) + 2 * real(latent.value_dim));
}

/// The same of its feed-forward: gate, up and their product; with experts the rows gathered for them and given back
/// too.
double ffn_width(const Decoder& decoder, bool experts_here, int tp) {
  const double pieces = decoder.gated_ffn ? 3 : 2;
  if (!experts_here) return pieces * share(real(decoder.ffn), tp);
  const Experts& experts = *decoder.experts;
  const bool whole = experts.count % std::max(1, tp) == 0;
  // Experts divided over ranks get their rows unevenly; on average a rank serves active / tp of a token's.
  const double rows = whole ? static_cast<double>(experts.active) / std::max(1, tp) : experts.active;
  const double inner = whole ? real(experts.ffn) : share(real(experts.ffn), tp);
  return rows * (pieces * inner + 2 * real(decoder.hidden)) + 2.0 * experts.count +
         pieces * share(real(experts.shared_ffn), tp);
}

/// One image through the tower: patches are merged four to a token, and a patch has 6 hidden-wide and 2 inner-wide
/// pieces at hand.
double vision_activations(const Vision& vision, int tp) {
  const double width = 6 * real(vision.hidden) + 2 * real(vision.ffn);
  return 2 * 4.0 * vision.tokens_per_image * (vision_splits(vision, tp) ? width / tp : width);
}

double overhead(const MemoryUse& use, bool communicates) {
  const double rest = use.total() - use.overhead;
  return kContextBytes + (communicates ? kCommunicationBytes : 0) + kFragmentation * rest;
}

/// A model whose architecture is not described: its weights, and for activations a fifth of them, at least 2 GiB.
MemoryUse undescribed(const Model& model, DType dtype) {
  MemoryUse use;
  use.weights = weight_bytes(model, dtype);
  use.activations = std::max(2 * kGiB, use.weights / 5);
  use.overhead = overhead(use, false);
  return use;
}

const MemoryUse& fuller(const MemoryUse& a, const MemoryUse& b) { return a.total() >= b.total() ? a : b; }

/// Adapter parameters of one layer on one rank. The side of a matrix that is not split is whole on every rank.
PerLayer layer_adapters(const Decoder& decoder, std::int64_t rank, int tp) {
  return per_layer(decoder, [&](bool experts_here) {
    double count = 0;
    for (const Matrix& m : matrices(decoder, experts_here, tp))
      count += m.copies_local * real(rank) * (m.in_local + m.out_local);
    return count;
  });
}

/// Trained parameters of one layer on one rank when all are trained.
PerLayer layer_count(const Decoder& decoder, int tp) {
  return per_layer(decoder, [&](bool experts_here) {
    double count = small_params(decoder, experts_here, tp);
    for (const Matrix& m : matrices(decoder, experts_here, tp)) count += m.copies_local * m.in_local * m.out_local;
    return count;
  });
}

}  // namespace

std::vector<std::pair<std::string, double>> MemoryUse::parts() const {
  std::vector<std::pair<std::string, double>> all = {
      {"weights", weights},     {"KV cache", kv},         {"activations", activations}, {"adapter", adapter},
      {"gradients", gradients}, {"optimizer", optimizer}, {"average", average},         {"overhead", overhead}};
  std::erase_if(all, [](const auto& part) { return part.second == 0; });
  return all;
}

double kv_bytes_per_token(const Decoder& decoder, DType kv) {
  return decoder.layers * kv_bytes_per_layer(decoder, kv, 1);
}

double kv_bytes_per_gpu(const Decoder& decoder, const Layout& layout, DType kv, double tokens, double batch) {
  double most = 0;
  for (const Stage& stage : stages_of(decoder, layout.pp))
    most = std::max(most, stage_kv(decoder, stage, kv, layout.tp, tokens, batch));
  return most;
}

double kv_bytes_read(const Decoder& decoder, int tp, DType kv, double tokens, double batch) {
  double seen = 0;
  for (int layer = 0; layer < decoder.layers; ++layer)
    seen += is_windowed(decoder, layer) ? std::min(tokens, real(decoder.window)) : tokens;
  return seen * batch * kv_bytes_per_layer(decoder, kv, tp);
}

double weight_bytes(const Model& model, DType dtype) {
  // Multi-token-prediction layers are on disk too, but nothing loads them.
  if (!model.decoder) return model.params * bytes_of(dtype);
  const Stage whole{0, model.decoder->layers, true, true, 0};
  return stage_weights(model, whole, dtype, 1, layer_weights(model, dtype, 1));
}

// Activations of a forward step of T tokens (at most `prefill`), on one rank, are what the worker's engine lays out, n
// being the bytes of a number, 4 or 2:
//   n T hidden                                       the residual
//   n T (3 hidden + attention + feed-forward)        a norm, two outputs, between two products
//   T experts                                        (experts_room)
// and in the last stage
//   n T hidden                                       the rows that are scored, of which no logits are kept
//   4 vocab min(32, batch)                           the logits of those that are drawn at once
// which are sorted where the layers had their room: it has 8 bytes for each of these logits at least.
MemoryUse inference_memory(const Model& model, const Layout& layout, const InferenceShape& shape) {
  if (!model.decoder) return undescribed(model, shape.weights);
  const Decoder& decoder = *model.decoder;
  const int tp = std::max(1, layout.tp);
  const double tokens = std::max(1.0, real(shape.tokens)), batch = std::max(1.0, real(shape.batch));
  const double step = std::clamp(real(shape.prefill), 1.0, tokens * batch);
  const PerLayer weights = layer_weights(model, shape.weights, tp);
  const PerLayer adapters = layer_adapters(decoder, std::max<std::int64_t>(0, shape.rank), tp);
  const double number = kept_bytes(shape.weights);
  const PerLayer inner = per_layer(decoder, [&](bool experts_here) { return ffn_room(decoder, experts_here, tp); });
  const PerLayer routed =
      per_layer(decoder, [&](bool experts_here) { return experts_here ? experts_room(decoder, tp, number) : 0; });
  MemoryUse fullest;
  for (const Stage& stage : stages_of(decoder, layout.pp)) {
    MemoryUse use;
    use.weights = stage_weights(model, stage, shape.weights, tp, weights);
    use.kv = stage_kv(decoder, stage, shape.kv, tp, tokens, batch);
    use.adapter = 2 * sum_over(stage, decoder, adapters);
    double widest = 0, most_routed = 0;
    for (int layer = stage.begin; layer < stage.end; ++layer) {
      widest = std::max(widest, inner.of(decoder, layer));
      most_routed = std::max(most_routed, routed.of(decoder, layer));
    }
    const double hidden = step * number * real(decoder.hidden);
    const double layer = 3 * hidden + step * (number * (attention_room(decoder, tp) + widest) + most_routed);
    const double logits = stage.last ? real(decoder.vocab) * std::min(batch, kDrawnRows) : 0;
    use.activations = (stage.last ? 2 : 1) * hidden + std::max(layer, 8 * logits) + 4 * logits;
    if (stage.first && model.vision) use.activations += vision_activations(*model.vision, tp);
    use.overhead = overhead(use, tp * layout.pp > 1);
    fullest = fuller(fullest, use);
  }
  return fullest;
}

// Activations of T = micro_batch × sequence tokens, in 16 bits, attention without a T × T matrix. One layer keeps for
// its backward
//   S = 2 T (6 hidden + attention + feed-forward)     two fp32 norm inputs count double
// (34 T hidden of the usual estimate, without dropout masks). With checkpointing each layer keeps its input, 2 T
// hidden, and one layer at a time S and as much again for the gradients in flight; without, every layer keeps S. Of a
// pipeline the stage k of p holds p − k micro-batches at once. The last stage adds fp32 logits and their gradient for a
// chunk of 1,024 rows.
MemoryUse training_memory(const Model& model, const Layout& layout, const TrainShape& shape) {
  if (!model.decoder) {
    MemoryUse use = undescribed(model, shape.weights);
    if (shape.full) {
      use.weights = 6 * model.params;
      use.gradients = 4 * model.params;
      use.optimizer = 8 * model.params;
      if (shape.ema) use.average = 4 * model.params;
    } else {
      // Two matrices of rank r beside each weight matrix; the architecture unknown, 2 % of the weights at rank 64 is
      // assumed.
      const double trained = model.params * std::min(1.0, 0.02 * std::max(1.0, real(shape.rank)) / 64);
      use.adapter = 6 * trained;
      use.gradients = 4 * trained;
      use.optimizer = 8 * trained;
      if (shape.ema) use.average = 4 * trained;
    }
    use.overhead = overhead(use, layout.gpus() > 1);
    return use;
  }
  const Decoder& decoder = *model.decoder;
  const int tp = std::max(1, layout.tp), pp = std::max(1, layout.pp);
  const double rows = std::max(1.0, real(shape.micro_batch)) * std::max(1.0, real(shape.sequence));
  const double hidden = real(decoder.hidden);
  const PerLayer weights = layer_weights(model, shape.weights, tp);
  const PerLayer trained =
      shape.full ? layer_count(decoder, tp) : layer_adapters(decoder, std::max<std::int64_t>(0, shape.rank), tp);
  const PerLayer kept = per_layer(decoder, [&](bool experts_here) {
    return 2 * rows * (6 * hidden + attention_width(decoder, tp) + ffn_width(decoder, experts_here, tp));
  });
  MemoryUse fullest;
  for (const Stage& stage : stages_of(decoder, pp)) {
    MemoryUse use;
    double count = sum_over(stage, decoder, trained);
    if (shape.full) {
      count += outside_params(model, tp, stage.first, stage.last);
      use.weights = 6 * count;                        // bf16 with an fp32 master
      if (shape.reference) use.weights += 2 * count;  // the base as it was
    } else {
      use.weights = stage_weights(model, stage, shape.weights, tp, weights);
      use.adapter = 6 * count;
    }
    use.gradients = 4 * count;
    use.optimizer = 8 * count;
    if (shape.ema) use.average = 4 * count;
    const double in_flight = pp - stage.number;
    double widest = 0;
    for (int layer = stage.begin; layer < stage.end; ++layer) widest = std::max(widest, kept.of(decoder, layer));
    use.activations = shape.checkpointing ? in_flight * (stage.end - stage.begin) * 2 * rows * hidden + 2 * widest
                                          : in_flight * sum_over(stage, decoder, kept) + widest;
    if (stage.last) use.activations += 2 * 4 * real(decoder.vocab) * std::min(kLossRows, rows);
    if (stage.first && model.vision) use.activations += vision_activations(*model.vision, tp);
    use.overhead = overhead(use, tp > 1 || pp > 1 || layout.dp > 1);
    fullest = fuller(fullest, use);
  }
  return fullest;
}

double adapter_params(const Decoder& decoder, std::int64_t rank) {
  const PerLayer layers = layer_adapters(decoder, std::max<std::int64_t>(0, rank), 1);
  return sum_over({0, decoder.layers, true, true, 0}, decoder, layers);
}

std::int64_t most_useful_rank(const Decoder& decoder) {
  bool dense = false, sparse = false;
  for (int i = 0; i < decoder.layers; ++i) (decoder.has_experts(i) ? sparse : dense) = true;
  double narrowest = real(decoder.hidden);
  for (const bool experts_here : {false, true}) {
    if (experts_here ? !sparse : !dense) continue;
    for (const Matrix& m : matrices(decoder, experts_here, 1)) narrowest = std::min({narrowest, m.in, m.out});
  }
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(narrowest) / 2);
}

}  // namespace orch
