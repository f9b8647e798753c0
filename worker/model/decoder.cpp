#include "model/decoder.h"

#include <algorithm>

namespace orch::model {

using kernels::Backend;
using kernels::Ints;
using kernels::KvCache;
using kernels::Matrix;
using kernels::Norm;
using kernels::Stream;
using kernels::Weight;

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

std::int64_t Decoder::largest_inner() const {
  std::int64_t inner = 0;
  for (const LayerWeights& layer : layers_)
    for (const Place place : {Place::kDown, Place::kSharedDown})
      if (layer.weight(place)) inner = std::max(inner, layer.weight(place)->cols);
  return inner;
}

Room Decoder::lay_out(Layout& layout, const StepBounds& bounds) const {
  Room room;
  const std::int64_t tokens = bounds.tokens;
  const auto matrix = [&](std::int64_t cols) { return layout.matrix(tokens, cols, dtype()); };
  room.normed = matrix(it_.hidden);
  room.delta = matrix(it_.hidden);
  room.second = matrix(it_.hidden);
  const AttentionKind& attention = it_.attention;
  const kernels::KvShape shape = kv_shape(dtype());
  if (const auto& latent = attention.latent) {
    room.compressed = matrix(std::max<std::int64_t>(latent->q_rank, 1));
    // Queries before they are compressed to the cache's components, and the keys beside them.
    room.qkv = matrix(heads_ * attention.head_dim + shape.key_dim);
    room.attended = matrix(heads_ * shape.value_dim);
  } else {
    room.qkv = matrix((heads_ + 2 * kv_heads_) * attention.head_dim);
    room.attended = matrix(heads_ * attention.head_dim);
  }
  // Of latent attention the heads' own values take the queries' place.
  room.q = matrix(heads_ * std::max<std::int64_t>(shape.key_dim, attention.latent ? attention.latent->value_dim : 0));
  room.inner = matrix(largest_inner());
  if (bounds.rank > 0) {
    room.low = matrix(bounds.rank * low_heads());
    room.bare = room.shared_bare = matrix(largest_inner() * (it_.feed_forward.gated ? 2 : 1));
  }

  if (bounds.expert_rank > 0) lay_out_routed(layout, room, tokens, bounds.expert_rank);

  std::size_t scratch = bounds.expert_rank > 0 ? routed_scratch(tokens, bounds.expert_rank, false) : 0;
  kernels::Attention attend;
  attend.sequences.max_length = bounds.max_length;
  scratch = std::max(scratch, backend_.scratch(attend));
  if (it_.experts) {
    room.router_logits = layout.matrix(tokens, it_.experts->count, DType::kFp32);
    room.expert_weights = layout.matrix(tokens, it_.experts->active, DType::kFp32);
    room.experts = layout.ints(tokens * it_.experts->active);
    for (const LayerWeights& layer : layers_) {
      if (!layer.experts_up) continue;
      kernels::Experts experts;
      experts.x = experts.y = room.normed;
      experts.active = it_.experts->active;
      experts.up = layer.experts_up.get();
      experts.down = layer.experts_down.get();
      scratch = std::max(scratch, backend_.scratch(experts));
    }
  }
  room.scratch = layout.scratch(scratch);
  return room;
}

/// Where scores keep what the ranks then tell each other: of every rank a block.
struct Decoder::ScoreRoom {
  Matrix stats, found;
  std::span<std::byte> scratch;
};

Decoder::ScoreRoom Decoder::lay_out_scores(Layout& layout, std::int64_t rows, std::int64_t targets, bool others) const {
  ScoreRoom room;
  room.stats = layout.matrix(rows * shard_.ranks, kernels::kScoreColumns, DType::kFp32);
  room.found = layout.matrix(targets * shard_.ranks, 1, DType::kFp32);
  kernels::Score score;
  score.x.rows = rows;
  score.head = head();
  if (others) score.others.sums.data = &room;  // as if they were asked for
  room.scratch = layout.scratch(backend_.scratch(score));
  return room;
}

std::size_t Decoder::score_workspace(std::int64_t rows, std::int64_t targets, bool others) const {
  Layout layout(nullptr);
  lay_out_scores(layout, rows, targets, others);
  return layout.bytes();
}

std::size_t Decoder::workspace(const StepBounds& bounds) const {
  // Scores come after the layers, in the same place.
  Layout layout(nullptr);
  lay_out(layout, bounds);
  return shard_.ends() ? std::max(layout.bytes(), score_workspace(bounds.scored, bounds.targets)) : layout.bytes();
}

void Decoder::sum(Stream& stream, Matrix matrix) const {
  if (shard_.ranks > 1) tensor_->sum(stream, matrix, matrix.dtype);
}

const std::vector<LowRank>* Decoder::parts_of(const Pass& pass, std::size_t number, Place place) const {
  if (!pass.step.adapter) return nullptr;
  const std::vector<LowRank>& parts = pass.step.adapter->layers[number][place];
  return parts.empty() ? nullptr : &parts;
}

kernels::Dropout Decoder::dropout_of(const Pass& pass, std::size_t number, Place place, std::size_t part, Matrix x,
                                     Matrix y) const {
  const Drops& drops = pass.step.drops;
  kernels::Dropout op;
  op.x = x;
  op.rate = drops.rate;
  const LowRank& low = (*parts_of(pass, number, place))[part];
  op.key = drops.key + low.mask;
  op.names = drops.names;
  op.first = low.first_input;
  op.y = y;
  return op;
}

Matrix Decoder::dropped(const Pass& pass, std::size_t number, Place place, std::size_t part, const Room& room,
                        Matrix x) const {
  if (pass.step.drops.rate <= 0) return x;
  Matrix y = kernels::columns(room.dropped, 0, x.cols);
  backend_.run(pass.stream, dropout_of(pass, number, place, part, x, y));
  return y;
}

void Decoder::project(const Pass& pass, std::size_t number, Place place, const Room& room, Matrix x, Matrix y) const {
  const Projection& projection = layers_[number].at[place];
  kernels::Linear whole;
  whole.x = x;
  whole.weight = projection.weight.get();
  whole.bias = projection.bias;
  whole.y = y;
  backend_.run(pass.stream, whole);
  const std::vector<LowRank>* parts = parts_of(pass, number, place);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    kernels::Linear down;
    down.x = dropped(pass, number, place, i, room, x);
    down.weight = part.a;
    down.y = kernels::columns(room.low, 0, part.rank());
    backend_.run(pass.stream, down);
    kernels::Linear up;
    up.x = down.y;
    up.weight = part.b;
    up.scale = part.scale;
    up.add = true;
    up.y = kernels::columns(y, part.from, part.b->rows);
    backend_.run(pass.stream, up);
  }
}

kernels::Rotation Decoder::rotation_of(const Step& step) const {
  return step.lengthy && long_rotation_.dims > 0 ? long_rotation_ : rotation_;
}

kernels::Attention Decoder::attention_of(const Pass& pass, const LayerWeights& layer, const KvCache& cache,
                                         const Room& room) const {
  kernels::Attention attention;
  attention.q = kernels::tight(room.q, heads_ * cache.shape.key_dim);
  attention.heads = static_cast<int>(heads_);
  attention.cache = cache;
  attention.sequences = pass.step.sequences;
  attention.scale = it_.attention.scale;
  attention.soft_cap = it_.attention.soft_cap;
  attention.window = layer.window;
  attention.slopes = slopes_;
  attention.out = room.attended;
  attention.log_sums = room.log_sums;
  return attention;
}

void Decoder::attend(const Pass& pass, std::size_t number, const KvCache& cache, const Room& room, Matrix out) const {
  const LayerWeights& layer = layers_[number];
  project(pass, number, Place::kQkv, room, room.normed, room.qkv);

  kernels::Rotary rotary;
  rotary.qkv = room.qkv;
  rotary.clip = it_.attention.clip;
  rotary.heads = static_cast<int>(heads_);
  if (it_.attention.head_norms) {
    rotary.q_norm = layer.norm(NormPlace::kQuery);
    rotary.k_norm = layer.norm(NormPlace::kKey);
  }
  rotary.rotation = rotation_of(pass.step);
  rotary.bases = pass.step.bases;
  rotary.positions = pass.step.positions;
  rotary.slots = pass.step.slots;
  rotary.cache = cache;
  rotary.q = room.q;
  backend_.run(pass.stream, rotary);

  backend_.run(pass.stream, attention_of(pass, layer, cache, room), room.scratch);
  project(pass, number, Place::kOut, room, room.attended, out);
}

// An adapter makes of a head's key c · Wᵀ also s · (c · Aᵀ) · Bᵀ; what a query q makes of that, q · B · A, goes to the
// compressed c as well.
void Decoder::absorb(const Pass& pass, std::size_t number, const Room& room, Matrix queries) const {
  const kernels::KvShape shape = kv_shape(dtype());
  const std::int64_t compressed = it_.attention.latent->kv_rank;
  kernels::HeadLinear absorb;
  absorb.x = queries;
  absorb.x_stride = it_.attention.head_dim;
  absorb.weight = layers_[number].key_up.get();
  absorb.y = kernels::tight(room.q, heads_ * shape.key_dim);
  absorb.y_stride = shape.key_dim;
  backend_.run(pass.stream, absorb);
  const std::vector<LowRank>* parts = parts_of(pass, number, Place::kKeyValueUp);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    kernels::HeadLinear down;
    down.x = queries;
    down.x_stride = it_.attention.head_dim;
    down.weight = part.b_keys;
    down.y = low_of_heads(room, part);
    down.y_stride = part.rank();
    backend_.run(pass.stream, down);
    kernels::Linear up;
    up.x = kernels::by_head(down.y, heads_);
    up.weight = part.a_turned;
    up.scale = part.scale;
    up.add = true;
    up.y = kernels::columns(kernels::by_head(absorb.y, heads_), 0, compressed);
    backend_.run(pass.stream, up);
  }
}

Matrix Decoder::latent_values(const Pass& pass, std::size_t number, const Room& room) const {
  const LatentKind& latent = *it_.attention.latent;
  kernels::HeadLinear values;
  values.x = room.attended;
  values.x_stride = latent.kv_rank;
  values.weight = layers_[number].value_up.get();
  // Where no way back reads the queries their place is free again.
  values.y = room.values ? room.values : kernels::columns(room.q, 0, heads_ * latent.value_dim);
  values.y_stride = latent.value_dim;
  backend_.run(pass.stream, values);
  const std::vector<LowRank>* parts = parts_of(pass, number, Place::kKeyValueUp);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    const Matrix low = low_of_heads(room, part);
    kernels::Linear down;
    down.x = kernels::by_head(room.attended, heads_);
    down.weight = part.a;
    down.scale = part.scale;
    down.y = kernels::by_head(low, heads_);
    backend_.run(pass.stream, down);
    values.x = low;
    values.x_stride = part.rank();
    values.weight = part.b;
    values.add = true;
    backend_.run(pass.stream, values);
  }
  return values.y;
}

void Decoder::attend_latent(const Pass& pass, std::size_t number, const KvCache& cache, const Room& room,
                            Matrix out) const {
  const LayerWeights& layer = layers_[number];
  const LatentKind& latent = *it_.attention.latent;
  const kernels::KvShape& shape = cache.shape;
  const std::int64_t q_dim = it_.attention.head_dim;
  const Matrix queries = kernels::columns(room.qkv, 0, heads_ * q_dim);
  const Matrix kv = kernels::columns(room.qkv, heads_ * q_dim, shape.key_dim);
  if (layer.weight(Place::kQueryDown)) {
    project(pass, number, Place::kQueryDown, room, room.normed, room.compressed);
    kernels::AddNorm norm;
    norm.residual = room.compressed;
    norm.norm = layer.norm(NormPlace::kLatentQuery);
    norm.out = room.compressed_normed ? room.compressed_normed : room.compressed;
    backend_.run(pass.stream, norm);
    project(pass, number, Place::kQueryUp, room, norm.out, queries);
  } else {
    project(pass, number, Place::kQueryUp, room, room.normed, queries);
  }
  project(pass, number, Place::kKeyValueDown, room, room.normed, kv);

  absorb(pass, number, room, queries);

  kernels::LatentRotary rotary;
  rotary.q_turned = queries;
  rotary.heads = static_cast<int>(heads_);
  rotary.q_from = latent.nope_dim;
  rotary.q_stride = q_dim;
  rotary.kv = kv;
  rotary.kv_norm = layer.norm(NormPlace::kLatentKeyValue);
  rotary.rotation = rotation_;
  rotary.positions = pass.step.positions;
  rotary.slots = pass.step.slots;
  rotary.cache = cache;
  rotary.q = kernels::tight(room.q, heads_ * shape.key_dim);
  backend_.run(pass.stream, rotary);

  backend_.run(pass.stream, attention_of(pass, layer, cache, room), room.scratch);
  project(pass, number, Place::kOut, room, latent_values(pass, number, room), out);
}

void Decoder::two(const Pass& pass, std::size_t number, Place up, Place down, Matrix bare, const Room& room, Matrix in,
                  Matrix out) const {
  const FeedForwardKind& kind = it_.feed_forward;
  const LayerWeights& layer = layers_[number];
  Matrix inner = kernels::columns(room.inner, 0, layer.weight(down)->cols);
  inner.rows = in.rows;
  // Adapters come before the activation, and so does what a way back reads.
  if (room.entered || parts_of(pass, number, up)) {
    bare = kernels::columns(bare, 0, layer.weight(up)->rows);
    project(pass, number, up, room, in, bare);
    backend_.run(pass.stream, kernels::Activate{bare, kind.activation, kind.gated, inner});
  } else {
    kernels::Linear first;
    first.x = in;
    first.weight = layer.weight(up);
    first.bias = layer.at[up].bias;
    first.activation = kind.activation;
    first.gated = kind.gated;
    first.y = inner;
    backend_.run(pass.stream, first);
  }
  if (!is_over(pass)) project(pass, number, down, room, inner, out);
}

void Decoder::feed_forward(const Pass& pass, std::size_t number, const Room& room, Matrix in, Matrix out) const {
  const LayerWeights& layer = layers_[number];
  if (!layer.weight(Place::kRouter)) return two(pass, number, Place::kUp, Place::kDown, room.bare, room, in, out);

  project(pass, number, Place::kRouter, room, in, room.router_logits);
  kernels::Route route = route_of(layer, room);
  if (pass.again) route.counts = {};
  backend_.run(pass.stream, route);
  if (is_over(pass)) {
    // Nobody reads it.
  } else if (!layer.experts_up) {
    // More ranks than experts: this one has none.
    backend_.clear(pass.stream, out.data, static_cast<std::size_t>(out.rows) * row_bytes(out));
  } else if (has_expert_adapters(pass, number)) {
    routed_experts(pass, number, room, in, out);
  } else {
    kernels::Experts mix = experts_of(layer, room, in);
    mix.y = out;
    backend_.run(pass.stream, mix, room.scratch);
  }
  if (!layer.weight(Place::kSharedUp)) return;
  // `in` is read before room.second is written, which no caller gives as `in`.
  two(pass, number, Place::kSharedUp, Place::kSharedDown, room.shared_bare, room, in, room.second);
  if (is_over(pass)) return;
  kernels::AddNorm add;
  add.residual = out;
  add.delta = room.second;
  backend_.run(pass.stream, add);
}

void Decoder::lay_out_routed(Layout& layout, Room& room, std::int64_t tokens, std::int64_t rank) const {
  const std::int64_t choices = tokens * it_.experts->active, inner = it_.experts->inner;
  room.chosen_bare = layout.matrix(choices, it_.feed_forward.gated ? 2 * inner : inner, dtype());
  room.chosen_inner = layout.matrix(choices, inner, dtype());
  room.chosen_out = layout.matrix(choices, it_.hidden, DType::kFp32);
  room.chosen_low = layout.matrix(choices, rank, dtype());
}

std::size_t Decoder::routed_scratch(std::int64_t tokens, std::int64_t rank, bool back) const {
  std::size_t scratch = 0;
  const std::int64_t choices = tokens * it_.experts->active;
  Matrix rows;
  rows.rows = choices;
  for (const LayerWeights& layer : layers_) {
    if (!layer.experts_up) continue;
    kernels::RoutedLinear forth;
    forth.y = rows;
    forth.weight = layer.experts_up.get();
    scratch = std::max(scratch, backend_.scratch(forth));
    if (!back) continue;
    kernels::RoutedLinearBack to_x;
    to_x.dx = rows;
    to_x.weight = layer.experts_up.get();
    scratch = std::max(scratch, backend_.scratch(to_x));
    kernels::RoutedGradient gradient;
    gradient.experts.size = choices;
    gradient.count = layer.experts_up->count;
    gradient.dy.dtype = gradient.x.dtype = dtype();
    gradient.dy.cols = rank;
    gradient.x.cols = std::max({it_.hidden, layer.experts_up->rows, layer.experts_down->cols});
    scratch = std::max(scratch, backend_.scratch(gradient));
  }
  return scratch;
}

kernels::RoutedLinear Decoder::routed(const Room& room, Matrix x, const Weight* weight, std::int64_t first,
                                      Matrix y) const {
  kernels::RoutedLinear op;
  op.x = x;
  op.experts = room.experts;
  op.active = it_.experts->active;
  op.first = first;
  op.weight = weight;
  op.y = y;
  return op;
}

void Decoder::add_routed(const Pass& pass, std::size_t number, Place place, const Room& room, Matrix x,
                         Matrix y) const {
  const std::vector<LowRank>* parts = parts_of(pass, number, place);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    const Matrix low = kernels::columns(room.chosen_low, 0, part.rank());
    backend_.run(pass.stream, routed(room, x, part.a, part.first_expert, low), room.scratch);
    kernels::RoutedLinear up =
        routed(room, low, part.b, part.first_expert, kernels::columns(y, part.from, part.b->rows));
    up.scale = part.scale;
    up.add = true;
    backend_.run(pass.stream, up, room.scratch);
  }
}

void Decoder::routed_inner(const Pass& pass, std::size_t number, const Room& room, Matrix in) const {
  const FeedForwardKind& kind = it_.feed_forward;
  const std::int64_t first = part_of(it_.experts->count, shard_).first;
  backend_.run(pass.stream, routed(room, in, layers_[number].experts_up.get(), first, room.chosen_bare), room.scratch);
  add_routed(pass, number, Place::kExpertsUp, room, in, room.chosen_bare);
  backend_.run(pass.stream, kernels::Activate{room.chosen_bare, kind.activation, kind.gated, room.chosen_inner});
}

void Decoder::routed_experts(const Pass& pass, std::size_t number, const Room& room, Matrix in, Matrix out) const {
  const std::int64_t first = part_of(it_.experts->count, shard_).first;
  routed_inner(pass, number, room, in);
  backend_.run(pass.stream, routed(room, room.chosen_inner, layers_[number].experts_down.get(), first, room.chosen_out),
               room.scratch);
  add_routed(pass, number, Place::kExpertsDown, room, room.chosen_inner, room.chosen_out);
  backend_.run(pass.stream, kernels::Mix{room.chosen_out, it_.experts->active, room.expert_weights, out});
}

kernels::Route Decoder::route_of(const LayerWeights& layer, const Room& room) const {
  const ExpertsKind& experts = *it_.experts;
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
  return route;
}

kernels::Experts Decoder::experts_of(const LayerWeights& layer, const Room& room, Matrix in) const {
  kernels::Experts mix;
  mix.x = in;
  mix.experts = room.experts;
  mix.weights = room.expert_weights;
  mix.active = it_.experts->active;
  mix.first = part_of(it_.experts->count, shard_).first;
  mix.up = layer.experts_up.get();
  mix.down = layer.experts_down.get();
  mix.activation = it_.feed_forward.activation;
  mix.gated = it_.feed_forward.gated;
  return mix;
}

void Decoder::embed(const Pass& pass, Matrix hidden) const {
  kernels::Embed embed;
  embed.tokens = pass.step.tokens;
  embed.table = embedding_.get();
  embed.first = vocab_of(it_.vocab, shard_).first;
  embed.scale = it_.embedding_scale;
  embed.position_table = positions_.get();
  embed.positions = pass.step.positions;
  embed.x = hidden;
  backend_.run(pass.stream, embed);
  sum(pass.stream, hidden);
}

void Decoder::add_norm(const Pass& pass, Flow& flow, Matrix sum, const Norm* norm, Matrix out, const Room& room) const {
  kernels::AddNorm op;
  op.residual = flow.residual;
  op.delta = flow.delta;
  op.delta_scale = it_.residual_scale;
  op.delta_norm = flow.delta_norm;
  if (sum && flow.delta && flow.delta_norm) {
    // What was left stays as it is, for the way back.
    kernels::AddNorm first;
    first.residual = flow.delta;
    first.norm = flow.delta_norm;
    first.out = room.delta;
    backend_.run(pass.stream, first);
    op.delta = room.delta;
    op.delta_norm = nullptr;
  }
  if (flow.delta) op.sum = sum;
  op.norm = norm;
  op.out = out;
  backend_.run(pass.stream, op);
  if (flow.delta && sum) flow.residual = sum;
  flow.delta = {};
  flow.delta_norm = nullptr;
}

void Decoder::run_layer(const Pass& pass, std::size_t number, const KvCache& cache, Flow& flow,
                        const Room& room) const {
  const LayerWeights& layer = layers_[number];
  add_norm(pass, flow, room.entered, layer.norm(NormPlace::kAttention), room.normed, room);
  const Matrix attended = room.attention_delta ? room.attention_delta : room.delta;
  if (it_.attention.latent)
    attend_latent(pass, number, cache, room, attended);
  else
    attend(pass, number, cache, room, attended);
  if (it_.parallel) {
    if (it_.parallel_norms) add_norm(pass, flow, {}, layer.norm(NormPlace::kFeedForward), room.normed, room);
    feed_forward(pass, number, room, room.normed, room.second);
    if (is_over(pass)) return;
    kernels::AddNorm add;
    add.residual = attended;
    add.delta = room.second;
    backend_.run(pass.stream, add);
    // Where both read the same input, their sum is summed.
    sum(pass.stream, attended);
    flow.delta = attended;
    return;
  }
  sum(pass.stream, attended);
  flow.delta = attended;
  if (it_.post_norms) flow.delta_norm = layer.norm(NormPlace::kAttentionPost);
  add_norm(pass, flow, room.between, layer.norm(NormPlace::kFeedForward), room.normed, room);
  const Matrix made = room.feed_forward_delta ? room.feed_forward_delta : room.delta;
  feed_forward(pass, number, room, room.normed, made);
  if (is_over(pass)) return;
  sum(pass.stream, made);
  flow.delta = made;
  if (it_.post_norms) flow.delta_norm = layer.norm(NormPlace::kFeedForwardPost);
}

void Decoder::forward(Stream& stream, const Step& step, std::span<const KvCache> caches, std::span<std::byte> workspace,
                      Matrix hidden) {
  Layout layout(workspace.data());
  const Room room =
      lay_out(layout, {hidden.rows, step.sequences.max_length, 0, 0, step.adapter ? step.adapter->rank : 0,
                       step.adapter ? step.adapter->expert_rank : 0});
  const Pass pass{stream, step};
  if (shard_.begins()) embed(pass, hidden);
  Flow flow{hidden, {}, nullptr};
  for (std::size_t i = 0; i < layers_.size(); ++i) run_layer(pass, i, caches[i], flow, room);
  add_norm(pass, flow, {}, nullptr, {}, room);
}

void Decoder::score(Stream& stream, const Scoring& scoring, std::span<std::byte> workspace) {
  kernels::AddNorm norm;
  norm.residual = scoring.hidden;
  norm.norm = &norm_;
  norm.out = scoring.hidden;
  backend_.run(stream, norm);
  score_normed(stream, scoring, workspace);
}

kernels::Score Decoder::score_of(const Scoring& scoring) const {
  kernels::Score score;
  score.x = scoring.hidden;
  score.head = head();
  score.bias = scoring.temperature != 1 ? scoring.bias : head_bias_;
  score.first = vocab_of(it_.vocab, shard_).first;
  score.vocab = it_.vocab;
  // (cap · tanh(x / cap)) / temperature is the same with x and the cap divided before.
  score.scale = it_.logit_scale / scoring.temperature;
  score.soft_cap = it_.logit_cap / scoring.temperature;
  score.starts = scoring.starts;
  score.targets = scoring.targets;
  return score;
}

void Decoder::score_normed(Stream& stream, const Scoring& scoring, std::span<std::byte> workspace) const {
  const std::int64_t rows = scoring.hidden.rows, targets = scoring.targets.size;
  Layout layout(workspace.data());
  const ScoreRoom room = lay_out_scores(layout, rows, targets, static_cast<bool>(scoring.others));
  const Matrix own_stats = kernels::rows(room.stats, shard_.rank * rows, rows),
               own_found = kernels::rows(room.found, shard_.rank * targets, targets);
  kernels::Score score = score_of(scoring);
  score.stats = own_stats;
  score.found = own_found;
  score.others = scoring.others;
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
  combine.log_sums = scoring.log_sums;
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
