#include "model/decoder.h"

#include <algorithm>
#include <cmath>

namespace orch::model {

using kernels::Backend;
using kernels::Ints;
using kernels::KvCache;
using kernels::Matrix;
using kernels::Norm;
using kernels::Stream;
using kernels::Weight;
using WeightPtr = std::unique_ptr<Weight>;

struct Decoder::Layer {
  Norm attention_norm, feed_forward_norm, attention_post_norm, feed_forward_post_norm, q_norm, k_norm;
  WeightPtr qkv, out;
  Matrix qkv_bias, out_bias;
  WeightPtr q_a, q_b, kv_a, key_up, value_up;
  Norm latent_q_norm, latent_kv_norm;
  WeightPtr up, down;
  Matrix up_bias, down_bias;
  WeightPtr router, experts_up, experts_down, shared_up, shared_down;
  Matrix choice_bias;
  std::int64_t window = 0;
  Ints counts;  ///< of its experts
};

/// Where a step keeps what between its ops.
struct Decoder::Room {
  Matrix normed, delta, second;  ///< tokens × hidden
  Matrix qkv, q, attended;
  Matrix compressed;  ///< latent attention: of queries
  Matrix inner;       ///< of the feed-forward
  Matrix router_logits, expert_weights;
  Ints experts;
  std::span<std::byte> scratch;
  std::size_t bytes = 0;
};

namespace {

Matrix matrix_of(void* data, DType dtype, std::int64_t rows, std::int64_t cols) {
  return {data, dtype, rows, cols, cols};
}

/// The slopes of ALiBi for so many heads: a geometric row, and for what is no power of two every second of the next
/// row.
std::vector<float> alibi_slopes(int heads) {
  const auto row = [](int n) {
    std::vector<float> slopes;
    const double base = std::pow(2.0, -std::pow(2.0, -(std::log2(n) - 3)));
    for (int i = 1; i <= n; ++i) slopes.push_back(static_cast<float>(std::pow(base, i)));
    return slopes;
  };
  int power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<float> slopes = row(power);
  const std::vector<float> next = row(2 * power);
  for (int i = 0; power + i < heads; ++i) slopes.push_back(next[static_cast<std::size_t>(2 * i)]);
  return slopes;
}

/// Of a stack that outlives it.
class SourceReader : public kernels::RowReader {
 public:
  explicit SourceReader(const std::vector<Source>& stack) : stack_(stack) {}
  void read(std::int64_t index, std::int64_t first, std::int64_t rows, float* out, float* largest) const override {
    read_rows(stack_[static_cast<std::size_t>(index)], first, rows, out, largest);
  }
  const std::byte* stored(std::int64_t index, std::int64_t row, DType dtype) const override {
    return stored_row(stack_[static_cast<std::size_t>(index)], row, dtype);
  }

 private:
  const std::vector<Source>& stack_;
};

}  // namespace

/// Puts sources into the backend's memory; the first thing that goes wrong ends it.
class Decoder::Loading {
 public:
  explicit Loading(Decoder& decoder) : decoder_(decoder), stream_(decoder.backend_.make_stream()) {}

  Result<bool> run(const Sources& sources) {
    const Architecture& it = decoder_.it_;
    decoder_.embedding_ = weight(sources.embedding, decoder_.dtype(), "the embedding", false);
    decoder_.positions_ = weight(sources.positions, decoder_.dtype(), "the positions", false);
    if (!it.tied && decoder_.shard_.ends())
      decoder_.head_ = weight(sources.head, decoder_.dtype(), "the output head", false);
    decoder_.head_bias_ = vector(sources.head_bias);
    decoder_.norm_ = norm(sources.norm);
    decoder_.rotation_ = rotation(it.rope.frequencies, it.rope.scale);
    decoder_.long_rotation_ = rotation(it.rope.long_frequencies, it.rope.long_scale);
    if (it.alibi) {
      std::vector<float> slopes = alibi_slopes(it.attention.heads);
      for (float& slope : slopes) slope *= it.attention.scale;
      const Part heads = heads_of(it.attention, decoder_.shard_);
      decoder_.slopes_ = numbers({slopes.begin() + heads.first, slopes.begin() + heads.first + heads.count});
    }
    const std::int64_t first = layers_of(it, decoder_.shard_).first;
    for (std::size_t i = 0; i < sources.layers.size(); ++i) {
      const std::size_t number = static_cast<std::size_t>(first) + i;  // in the whole model
      decoder_.layers_.push_back(layer(sources.layers[i], "layer " + std::to_string(number)));
      decoder_.layers_.back().window = it.layers[number].window;
    }
    if (it.experts) count_experts();
    // Also where something went wrong: what is on its way is read from here.
    auto uploaded = decoder_.backend_.wait(*stream_);
    if (problem_) return *problem_;
    return uploaded;
  }

 private:
  WeightPtr weight(const std::vector<Source>& stack, DType dtype, const std::string& what, bool gated) {
    if (problem_ || stack.empty() || stack.front().empty()) return nullptr;
    kernels::WeightShape shape;
    shape.rows = stack.front().rows();
    shape.cols = stack.front().cols;
    shape.count = static_cast<std::int64_t>(stack.size());
    shape.dtype = dtype;
    shape.gated = gated;
    auto packed = decoder_.backend_.pack(shape, SourceReader(stack), what);
    if (packed) return *std::move(packed);
    problem_ = packed.error();
    return nullptr;
  }
  WeightPtr weight(const Source& source, DType dtype, const std::string& what, bool gated) {
    return weight(std::vector<Source>{source}, dtype, what, gated);
  }

  Matrix numbers(std::vector<float> values) {
    if (problem_ || values.empty()) return {};
    auto buffer = decoder_.backend_.allocate(values.size() * sizeof(float), "norms and biases");
    if (!buffer) {
      problem_ = buffer.error();
      return {};
    }
    held_.push_back(std::move(values));
    const std::vector<float>& host = held_.back();
    decoder_.backend_.upload(*stream_, (*buffer)->data, host.data(), host.size() * sizeof(float));
    decoder_.vectors_.push_back(*std::move(buffer));
    return matrix_of(decoder_.vectors_.back()->data, DType::kFp32, 1, static_cast<std::int64_t>(host.size()));
  }
  void count_experts() {
    const auto layers = static_cast<std::int64_t>(decoder_.layers_.size());
    const std::int64_t experts = decoder_.it_.experts->count;
    const auto bytes = static_cast<std::size_t>(layers * experts) * sizeof(std::int32_t);
    auto buffer = decoder_.backend_.allocate(bytes, "the counters of experts");
    if (!buffer) {
      if (!problem_) problem_ = buffer.error();
      return;
    }
    auto* counters = static_cast<std::int32_t*>((*buffer)->data);
    decoder_.backend_.clear(*stream_, counters, bytes);
    decoder_.vectors_.push_back(*std::move(buffer));
    decoder_.expert_counts_ = {counters, layers * experts};
    for (std::int64_t i = 0; i < layers; ++i)
      decoder_.layers_[static_cast<std::size_t>(i)].counts = {counters + i * experts, experts};
  }
  Matrix vector(const Source& source) { return source.empty() ? Matrix{} : numbers(read_all(source)); }
  /// Of what every rank adds to a sum only one may add it.
  Matrix once(const Source& source) { return decoder_.shard_.rank == 0 ? vector(source) : Matrix{}; }

  Norm norm(const NormSource& source) {
    const NormKind& kind = decoder_.it_.norm;
    return {kind.layer, kind.eps, vector(source.weight), vector(source.bias), kind.plus_one};
  }

  kernels::Rotation rotation(const std::vector<float>& frequencies, float scale) {
    const Rope& rope = decoder_.it_.rope;
    if (frequencies.empty()) return {};
    return {rope.dims, rope.interleaved, numbers(frequencies), scale};
  }

  Layer layer(const LayerSources& from, const std::string& what) {
    const DType dtype = decoder_.formats_.weights;
    const bool gated = decoder_.it_.feed_forward.gated;
    Layer layer;
    layer.attention_norm = norm(from.attention_norm);
    layer.feed_forward_norm = norm(from.feed_forward_norm);
    layer.attention_post_norm = norm(from.attention_post_norm);
    layer.feed_forward_post_norm = norm(from.feed_forward_post_norm);
    layer.q_norm = norm(from.q_norm);
    layer.k_norm = norm(from.k_norm);
    layer.qkv = weight(from.qkv, dtype, what, false);
    layer.qkv_bias = vector(from.qkv_bias);
    layer.out = weight(from.out, dtype, what, false);
    layer.out_bias = once(from.out_bias);
    layer.q_a = weight(from.latent.q_a, dtype, what, false);
    layer.q_b = weight(from.latent.q_b, dtype, what, false);
    layer.kv_a = weight(from.latent.kv_a, dtype, what, false);
    layer.key_up = weight(from.latent.key_up, dtype, what, false);
    layer.value_up = weight(from.latent.value_up, dtype, what, false);
    layer.latent_q_norm = norm(from.latent.q_norm);
    layer.latent_kv_norm = norm(from.latent.kv_norm);
    layer.up = weight(from.up, dtype, what, gated);
    layer.up_bias = vector(from.up_bias);
    layer.down = weight(from.down, dtype, what, false);
    layer.down_bias = once(from.down_bias);
    layer.router = weight(from.router, DType::kFp32, what, false);
    layer.choice_bias = vector(from.choice_bias);
    layer.experts_up = weight(from.experts_up, dtype, what + "'s experts", gated);
    layer.experts_down = weight(from.experts_down, dtype, what + "'s experts", false);
    layer.shared_up = weight(from.shared_up, dtype, what, gated);
    layer.shared_down = weight(from.shared_down, dtype, what, false);
    return layer;
  }

  Decoder& decoder_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::vector<float>> held_;  // until the uploads are over
  std::optional<Error> problem_;
};

Decoder::Decoder(Backend& backend, Architecture architecture, Shard shard, Formats formats, comm::Communicator* tensor)
    : backend_(backend), it_(std::move(architecture)), shard_(shard), formats_(formats), tensor_(tensor) {
  heads_ = heads_of(it_.attention, shard_).count;
  kv_heads_ = kv_heads_of(it_.attention, shard_).count;
}

Decoder::~Decoder() = default;

Result<std::unique_ptr<Decoder>> Decoder::load(Backend& backend, const Architecture& architecture,
                                               const Sources& sources, Shard shard, Formats formats,
                                               comm::Communicator* tensor) {
  if (auto fits = check_shard(architecture, shard); !fits) return fits.error();
  std::unique_ptr<Decoder> decoder(new Decoder(backend, architecture, shard, formats, tensor));
  auto loaded = Loading(*decoder).run(sources);
  if (!loaded) return loaded.error();
  return decoder;
}

kernels::KvShape Decoder::kv_shape(DType dtype) const {
  kernels::KvShape shape;
  shape.dtype = dtype;
  if (const auto& latent = it_.attention.latent) {
    shape.heads = 1;
    shape.key_dim = static_cast<int>(latent->kv_rank) + latent->rope_dim;
    shape.value_dim = static_cast<int>(latent->kv_rank);
    shape.values_in_keys = true;
  } else {
    shape.heads = static_cast<int>(kv_heads_);
    shape.key_dim = shape.value_dim = it_.attention.head_dim;
  }
  return shape;
}

Decoder::Room Decoder::lay_out(std::byte* memory, const StepBounds& bounds) const {
  Room room;
  const std::int64_t tokens = bounds.tokens;
  const auto take = [&](std::size_t bytes) {
    std::byte* at = memory ? memory + room.bytes : nullptr;
    room.bytes += (bytes + 255) / 256 * 256;
    return at;
  };
  const auto matrix = [&](std::int64_t cols, DType dtype) {
    const auto bytes = static_cast<std::size_t>(tokens * cols) * static_cast<std::size_t>(bytes_of(dtype));
    return matrix_of(take(bytes), dtype, tokens, cols);
  };
  room.normed = matrix(it_.hidden, dtype());
  room.delta = matrix(it_.hidden, dtype());
  room.second = matrix(it_.hidden, dtype());
  const AttentionKind& attention = it_.attention;
  const kernels::KvShape shape = kv_shape(dtype());
  if (const auto& latent = attention.latent) {
    room.compressed = matrix(std::max<std::int64_t>(latent->q_rank, 1), dtype());
    // Queries before they are compressed to the cache's components, and the keys beside them.
    room.qkv = matrix(heads_ * attention.head_dim + shape.key_dim, dtype());
    room.attended = matrix(heads_ * shape.value_dim, dtype());
  } else {
    room.qkv = matrix((heads_ + 2 * kv_heads_) * attention.head_dim, dtype());
    room.attended = matrix(heads_ * attention.head_dim, dtype());
  }
  room.q = matrix(heads_ * shape.key_dim, dtype());
  std::int64_t inner = 0;
  for (const Layer& layer : layers_)
    for (const WeightPtr* down : {&layer.down, &layer.shared_down})
      if (*down) inner = std::max(inner, (*down)->cols);
  room.inner = matrix(inner, dtype());

  std::size_t scratch = 0;
  kernels::Attention attend;
  attend.sequences.max_length = bounds.max_length;
  scratch = std::max(scratch, backend_.scratch(attend));
  if (it_.experts) {
    room.router_logits = matrix(it_.experts->count, DType::kFp32);
    room.expert_weights = matrix(it_.experts->active, DType::kFp32);
    const std::int64_t choices = tokens * it_.experts->active;
    room.experts = {reinterpret_cast<std::int32_t*>(take(static_cast<std::size_t>(choices) * sizeof(std::int32_t))),
                    choices};
    for (const Layer& layer : layers_) {
      if (!layer.experts_up) continue;
      kernels::Experts experts;
      experts.x = experts.y = room.normed;
      experts.active = it_.experts->active;
      experts.up = layer.experts_up.get();
      experts.down = layer.experts_down.get();
      scratch = std::max(scratch, backend_.scratch(experts));
    }
  }
  std::byte* at = take(scratch);
  if (at) room.scratch = {at, scratch};
  return room;
}

/// Where scores keep what the ranks then tell each other: of every rank a block.
struct Decoder::ScoreRoom {
  Matrix stats, found;
  std::span<std::byte> scratch;
  std::size_t bytes = 0;
};

Decoder::ScoreRoom Decoder::lay_out_scores(std::byte* memory, std::int64_t rows, std::int64_t targets) const {
  ScoreRoom room;
  const auto take = [&](std::size_t bytes) {
    std::byte* at = memory ? memory + room.bytes : nullptr;
    room.bytes += (bytes + 255) / 256 * 256;
    return at;
  };
  const auto matrix = [&](std::int64_t count, std::int64_t cols) {
    return matrix_of(take(static_cast<std::size_t>(count * cols) * sizeof(float)), DType::kFp32, count, cols);
  };
  room.stats = matrix(rows * shard_.ranks, kernels::kScoreColumns);
  room.found = matrix(targets * shard_.ranks, 1);
  kernels::Score score;
  score.x.rows = rows;
  score.head = head();
  const std::size_t scratch = backend_.scratch(score);
  std::byte* at = take(scratch);
  if (at) room.scratch = {at, scratch};
  return room;
}

std::size_t Decoder::workspace(const StepBounds& bounds) const {
  // Scores come after the layers, in the same place.
  const std::size_t layers = lay_out(nullptr, bounds).bytes;
  return shard_.ends() ? std::max(layers, lay_out_scores(nullptr, bounds.scored, bounds.targets).bytes) : layers;
}

void Decoder::sum(Stream& stream, Matrix matrix) const {
  if (shard_.ranks > 1) tensor_->sum(stream, matrix, matrix.dtype);
}

void Decoder::look_back(Stream& stream, const Step& step, const Layer& layer, const KvCache& cache,
                        const Room& room) const {
  kernels::Attention attention;
  attention.q = room.q;
  attention.heads = static_cast<int>(heads_);
  attention.cache = cache;
  attention.sequences = step.sequences;
  attention.scale = it_.attention.scale;
  attention.soft_cap = it_.attention.soft_cap;
  attention.window = layer.window;
  attention.slopes = slopes_;
  attention.out = room.attended;
  backend_.run(stream, attention, room.scratch);
}

void Decoder::attend(Stream& stream, const Step& step, const Layer& layer, const KvCache& cache,
                     const Room& room) const {
  kernels::Linear project;
  project.x = room.normed;
  project.weight = layer.qkv.get();
  project.bias = layer.qkv_bias;
  project.y = room.qkv;
  backend_.run(stream, project);

  kernels::Rotary rotary;
  rotary.qkv = room.qkv;
  rotary.clip = it_.attention.clip;
  rotary.heads = static_cast<int>(heads_);
  if (it_.attention.head_norms) rotary.q_norm = &layer.q_norm, rotary.k_norm = &layer.k_norm;
  rotary.rotation = step.lengthy && long_rotation_.dims > 0 ? long_rotation_ : rotation_;
  rotary.bases = step.bases;
  rotary.positions = step.positions;
  rotary.slots = step.slots;
  rotary.cache = cache;
  rotary.q = room.q;
  backend_.run(stream, rotary);

  look_back(stream, step, layer, cache, room);

  kernels::Linear out;
  out.x = room.attended;
  out.weight = layer.out.get();
  out.bias = layer.out_bias;
  out.y = room.delta;
  backend_.run(stream, out);
}

void Decoder::attend_latent(Stream& stream, const Step& step, const Layer& layer, const KvCache& cache,
                            const Room& room) const {
  const LatentKind& latent = *it_.attention.latent;
  const kernels::KvShape& shape = cache.shape;
  const std::int64_t q_dim = it_.attention.head_dim;
  const auto project = [&](Matrix x, const WeightPtr& weight, Matrix y) {
    kernels::Linear op;
    op.x = x;
    op.weight = weight.get();
    op.y = y;
    backend_.run(stream, op);
  };
  const Matrix queries = kernels::columns(room.qkv, 0, heads_ * q_dim);
  const Matrix kv = kernels::columns(room.qkv, heads_ * q_dim, shape.key_dim);
  if (layer.q_a) {
    project(room.normed, layer.q_a, room.compressed);
    kernels::AddNorm norm;
    norm.residual = room.compressed;
    norm.norm = &layer.latent_q_norm;
    norm.out = room.compressed;
    backend_.run(stream, norm);
    project(room.compressed, layer.q_b, queries);
  } else {
    project(room.normed, layer.q_b, queries);
  }
  project(room.normed, layer.kv_a, kv);

  kernels::HeadLinear absorb;
  absorb.x = queries;
  absorb.x_stride = q_dim;
  absorb.weight = layer.key_up.get();
  absorb.y = room.q;
  absorb.y_stride = shape.key_dim;
  backend_.run(stream, absorb);

  kernels::LatentRotary rotary;
  rotary.q_turned = queries;
  rotary.heads = static_cast<int>(heads_);
  rotary.q_from = latent.nope_dim;
  rotary.q_stride = q_dim;
  rotary.kv = kv;
  rotary.kv_norm = &layer.latent_kv_norm;
  rotary.rotation = rotation_;
  rotary.positions = step.positions;
  rotary.slots = step.slots;
  rotary.cache = cache;
  rotary.q = room.q;
  backend_.run(stream, rotary);

  look_back(stream, step, layer, cache, room);

  // From the cache's components to each head's own; the queries' place is free again.
  kernels::HeadLinear values;
  values.x = room.attended;
  values.x_stride = shape.value_dim;
  values.weight = layer.value_up.get();
  values.y = kernels::columns(room.q, 0, heads_ * latent.value_dim);
  values.y_stride = latent.value_dim;
  backend_.run(stream, values);

  kernels::Linear out;
  out.x = values.y;
  out.weight = layer.out.get();
  out.bias = layer.out_bias;
  out.y = room.delta;
  backend_.run(stream, out);
}

void Decoder::feed_forward(Stream& stream, const Layer& layer, Matrix in, Matrix out, const Room& room) const {
  const FeedForwardKind& kind = it_.feed_forward;
  const auto two = [&](const WeightPtr& up, Matrix up_bias, const WeightPtr& down, Matrix down_bias, Matrix y) {
    kernels::Linear first;
    first.x = in;
    first.weight = up.get();
    first.bias = up_bias;
    first.activation = kind.activation;
    first.gated = kind.gated;
    first.y = kernels::columns(room.inner, 0, down->cols);
    first.y.rows = in.rows;
    backend_.run(stream, first);
    kernels::Linear second;
    second.x = first.y;
    second.weight = down.get();
    second.bias = down_bias;
    second.y = y;
    backend_.run(stream, second);
  };
  if (!layer.router) return two(layer.up, layer.up_bias, layer.down, layer.down_bias, out);

  const ExpertsKind& experts = *it_.experts;
  kernels::Linear router;
  router.x = in;
  router.weight = layer.router.get();
  router.y = room.router_logits;
  backend_.run(stream, router);
  kernels::Route route;
  route.logits = room.router_logits;
  route.kind = experts.kind;
  route.active = experts.active;
  route.renormalise = experts.renormalise;
  route.scale = experts.scale;
  route.choice_bias = layer.choice_bias;
  route.groups = experts.groups;
  route.active_groups = experts.active_groups;
  route.group_best = experts.group_best;
  route.experts = room.experts;
  route.weights = room.expert_weights;
  route.counts = layer.counts;
  backend_.run(stream, route);
  if (!layer.experts_up) {
    // More ranks than experts: this one has none.
    backend_.clear(stream, out.data, static_cast<std::size_t>(out.rows) * row_bytes(out));
  } else {
    kernels::Experts mix;
    mix.x = in;
    mix.experts = room.experts;
    mix.weights = room.expert_weights;
    mix.active = experts.active;
    mix.first = part_of(experts.count, shard_).first;
    mix.up = layer.experts_up.get();
    mix.down = layer.experts_down.get();
    mix.activation = kind.activation;
    mix.gated = kind.gated;
    mix.y = out;
    backend_.run(stream, mix, room.scratch);
  }
  if (!layer.shared_up) return;
  // `in` is read before room.second is written, which no caller gives as `in`.
  two(layer.shared_up, {}, layer.shared_down, {}, room.second);
  kernels::AddNorm add;
  add.residual = out;
  add.delta = room.second;
  backend_.run(stream, add);
}

void Decoder::forward(Stream& stream, const Step& step, std::span<const KvCache> caches, std::span<std::byte> workspace,
                      Matrix hidden) {
  const std::int64_t tokens = hidden.rows;
  const Room room = lay_out(workspace.data(), {tokens, step.sequences.max_length, 0, 0});

  if (shard_.begins()) {
    kernels::Embed embed;
    embed.tokens = step.tokens;
    embed.table = embedding_.get();
    embed.first = vocab_of(it_.vocab, shard_).first;
    embed.scale = it_.embedding_scale;
    embed.position_table = positions_.get();
    embed.positions = step.positions;
    embed.x = hidden;
    backend_.run(stream, embed);
    sum(stream, hidden);
  }

  Matrix delta;  // what the layer before has left to add
  const Norm* delta_norm = nullptr;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    kernels::AddNorm enter;
    enter.residual = hidden;
    enter.delta = delta;
    enter.delta_scale = it_.residual_scale;
    enter.delta_norm = delta_norm;
    enter.norm = &layer.attention_norm;
    enter.out = room.normed;
    backend_.run(stream, enter);
    if (it_.attention.latent)
      attend_latent(stream, step, layer, caches[i], room);
    else
      attend(stream, step, layer, caches[i], room);
    // Where both read the same input, their sum is summed.
    if (!it_.parallel) sum(stream, room.delta);

    kernels::AddNorm between;
    between.residual = hidden;
    between.out = room.normed;
    if (it_.parallel) {
      if (it_.parallel_norms) {
        between.norm = &layer.feed_forward_norm;
        backend_.run(stream, between);
      }
      feed_forward(stream, layer, room.normed, room.second, room);
      kernels::AddNorm add;
      add.residual = room.delta;
      add.delta = room.second;
      backend_.run(stream, add);
    } else {
      between.delta = room.delta;
      between.delta_scale = it_.residual_scale;
      between.delta_norm = it_.post_norms ? &layer.attention_post_norm : nullptr;
      between.norm = &layer.feed_forward_norm;
      backend_.run(stream, between);
      feed_forward(stream, layer, room.normed, room.delta, room);
    }
    sum(stream, room.delta);
    delta = room.delta;
    delta_norm = it_.post_norms ? &layer.feed_forward_post_norm : nullptr;
  }
  kernels::AddNorm leave;
  leave.residual = hidden;
  leave.delta = delta;
  leave.delta_scale = it_.residual_scale;
  leave.delta_norm = delta_norm;
  backend_.run(stream, leave);
}

void Decoder::score(Stream& stream, const Scoring& scoring, std::span<std::byte> workspace) {
  kernels::AddNorm norm;
  norm.residual = scoring.hidden;
  norm.norm = &norm_;
  norm.out = scoring.hidden;
  backend_.run(stream, norm);
  const std::int64_t rows = scoring.hidden.rows, targets = scoring.targets.size;
  const ScoreRoom room = lay_out_scores(workspace.data(), rows, targets);
  const Matrix own_stats = kernels::rows(room.stats, shard_.rank * rows, rows),
               own_found = kernels::rows(room.found, shard_.rank * targets, targets);
  kernels::Score score;
  score.x = scoring.hidden;
  score.head = head();
  score.bias = head_bias_;
  score.first = vocab_of(it_.vocab, shard_).first;
  score.vocab = it_.vocab;
  score.scale = it_.logit_scale;
  score.soft_cap = it_.logit_cap;
  score.starts = scoring.starts;
  score.targets = scoring.targets;
  score.stats = own_stats;
  score.found = own_found;
  backend_.run(stream, score, room.scratch);
  if (shard_.ranks > 1) {
    tensor_->gather(stream, own_stats, room.stats);
    tensor_->gather(stream, own_found, room.found);
  }
  kernels::CombineScores combine;
  combine.stats = room.stats;
  combine.found = room.found;
  combine.ranks = shard_.ranks;
  combine.starts = scoring.starts;
  combine.logprobs = scoring.logprobs;
  combine.best = scoring.best;
  backend_.run(stream, combine);
}

void Decoder::logits(Stream& stream, Matrix hidden, Matrix logits) {
  kernels::AddNorm norm;
  norm.residual = hidden;
  norm.norm = &norm_;
  norm.out = hidden;
  backend_.run(stream, norm);
  // Each rank writes its part of the vocabulary; the others' zeros change no bit of it.
  const Part part = vocab_of(it_.vocab, shard_);
  if (shard_.ranks > 1)
    backend_.clear(stream, logits.data, static_cast<std::size_t>(logits.rows * logits.stride) * sizeof(float));
  kernels::Linear project;
  project.x = hidden;
  project.weight = head();
  project.bias = head_bias_;
  project.scale = it_.logit_scale;
  project.soft_cap = it_.logit_cap;
  project.y = kernels::columns(logits, part.first, part.count);
  if (part.count > 0) backend_.run(stream, project);
  sum(stream, logits);
}

}  // namespace orch::model
