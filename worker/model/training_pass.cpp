#include "model/training_pass.h"

#include <algorithm>

namespace orch::model {

using kernels::Matrix;
using kernels::Stream;

namespace {

Matrix some(Matrix matrix, std::int64_t rows) {
  if (matrix) matrix.rows = rows;
  return matrix;
}

Matrix rows_of_stack(Matrix stack, std::int64_t index, std::int64_t rows) {
  return kernels::rows(stack, index * rows, rows);
}

}  // namespace

std::int64_t TrainingPass::pages(const TrainingBounds& bounds) {
  return bounds.tokens / kernels::kPageTokens + bounds.sequences;
}

std::size_t TrainingPass::bytes(const Decoder& decoder, const TrainingBounds& bounds) {
  return TrainingPass(decoder, bounds, {}).bytes_;
}

TrainingPass::TrainingPass(const Decoder& decoder, const TrainingBounds& bounds, std::span<std::byte> memory)
    : decoder_(decoder), backend_(decoder.backend_), bounds_(bounds) {
  Layout layout(memory.data());
  lay_out(layout);
  bytes_ = layout.bytes();
}

Room TrainingPass::own_room(Layout& layout) const {
  const Architecture& it = decoder_.it_;
  const std::int64_t tokens = bounds_.tokens;
  const auto matrix = [&](std::int64_t cols) { return layout.matrix(tokens, cols, decoder_.dtype()); };
  const kernels::KvShape shape = decoder_.kv_shape(decoder_.dtype());
  Room room;
  if (!it.parallel) room.between = matrix(it.hidden);
  if (it.post_norms) {
    room.attention_delta = matrix(it.hidden);
    room.feed_forward_delta = matrix(it.hidden);
  }
  const std::int64_t heads = decoder_.heads_;
  room.qkv = matrix(it.attention.latent ? heads * it.attention.head_dim + shape.key_dim
                                        : (heads + 2 * decoder_.kv_heads_) * it.attention.head_dim);
  if (it.attention.latent && it.attention.latent->q_rank > 0) room.compressed = matrix(it.attention.latent->q_rank);
  room.q = matrix(heads * shape.key_dim);
  room.attended = matrix(heads * shape.value_dim);
  room.log_sums = layout.matrix(tokens, heads, DType::kFp32);
  std::int64_t bare = 0, shared = 0;
  for (const LayerWeights& layer : decoder_.layers_) {
    if (layer.weight(Place::kUp)) bare = std::max(bare, layer.weight(Place::kUp)->rows);
    if (layer.weight(Place::kSharedUp)) shared = std::max(shared, layer.weight(Place::kSharedUp)->rows);
  }
  room.bare = matrix(bare);
  room.shared_bare = matrix(shared);
  if (it.experts) {
    room.router_logits = layout.matrix(tokens, it.experts->count, DType::kFp32);
    room.expert_weights = layout.matrix(tokens, it.experts->active, DType::kFp32);
    room.experts = layout.ints(tokens * it.experts->active);
  }
  return room;
}

void TrainingPass::lay_out(Layout& layout) {
  const Architecture& it = decoder_.it_;
  const std::int64_t tokens = bounds_.tokens, heads = decoder_.heads_;
  const DType dtype = decoder_.dtype();
  const kernels::KvShape shape = decoder_.kv_shape(dtype);
  const auto matrix = [&](std::int64_t cols) { return layout.matrix(tokens, cols, dtype); };

  const std::size_t layers = decoder_.layers_.size();
  for (std::size_t i = 0; i < layers; ++i) {
    if (i == 0 || !bounds_.again) {
      rooms_.push_back(own_room(layout));
      const std::size_t bytes = backend_.page_bytes(shape) * static_cast<std::size_t>(pages(bounds_));
      caches_.push_back({shape, layout.take(bytes), pages(bounds_)});
    } else {
      rooms_.push_back(rooms_.front());
    }
    rooms_.back().entered = matrix(it.hidden);
  }

  shared_.normed = matrix(it.hidden);
  shared_.delta = matrix(it.hidden);
  shared_.second = matrix(it.hidden);
  shared_.inner = matrix(decoder_.largest_inner());
  if (const auto& latent = it.attention.latent) {
    if (latent->q_rank > 0) shared_.compressed_normed = matrix(latent->q_rank);
    shared_.values = matrix(heads * latent->value_dim);
    dcompressed_ = matrix(std::max<std::int64_t>(latent->q_rank, 1));
  }
  hidden_ = matrix(it.hidden);
  dnormed_ = matrix(it.hidden);
  ddelta_ = matrix(it.hidden);
  const std::int64_t own_values = it.attention.latent ? it.attention.latent->value_dim : 0;
  dattended_ = matrix(heads * shape.value_dim);
  dq_ = matrix(heads * std::max<std::int64_t>(shape.key_dim, own_values));
  dk_ = matrix(shape.heads * shape.key_dim);
  if (!shape.values_in_keys) dv_ = matrix(shape.heads * shape.value_dim);
  dinner_ = matrix(decoder_.largest_inner());
  if (bounds_.rank > 0) {
    shared_.low = matrix(bounds_.rank * decoder_.low_heads());
    dlow_ = matrix(bounds_.rank * decoder_.low_heads());
    if (bounds_.drops)
      shared_.dropped = matrix(std::max({it.hidden, decoder_.largest_inner(),
                                         heads * std::max<std::int64_t>(it.attention.head_dim, own_values),
                                         it.attention.latent ? it.attention.latent->q_rank : 0}));
  }
  if (it.experts) {
    dweights_ = layout.matrix(tokens, it.experts->active, DType::kFp32);
    dlogits_ = layout.matrix(tokens, it.experts->count, DType::kFp32);
  }
  if (bounds_.expert_rank > 0) {
    decoder_.lay_out_routed(layout, shared_, tokens, bounds_.expert_rank);
    dchosen_inner_ = layout.matrix(shared_.chosen_inner.rows, shared_.chosen_inner.cols, dtype);
    dchosen_low_ = layout.matrix(shared_.chosen_low.rows, shared_.chosen_low.cols, dtype);
  }
  picked_ = layout.matrix(bounds_.targets, it.hidden, dtype);
  normed_ = layout.matrix(bounds_.targets, it.hidden, dtype);
  dpicked_ = layout.matrix(bounds_.targets, it.hidden, dtype);
  log_sums_ = layout.matrix(bounds_.targets, 1, DType::kFp32);
  if (decoder_.head_bias_)
    for (Matrix* bias : {&cooled_bias_, &dcooled_bias_})
      *bias = layout.matrix(1, decoder_.head_bias_.cols, DType::kFp32);
  if (bounds_.rank > 0) {
    others_.sums = layout.matrix(bounds_.targets, it.hidden, DType::kFp32);
    others_.bases = layout.matrix(bounds_.targets, 1, DType::kFp32);
  }

  // What ops ask for, as large as any may be; nothing of it outlives its op.
  kernels::AttentionBack attention;
  attention.forward.q = dq_;
  attention.forward.heads = static_cast<int>(heads);
  attention.forward.cache.shape = shape;
  attention.forward.sequences.max_length = bounds_.max_length;
  std::size_t scratch = std::max(backend_.scratch(attention.forward), backend_.scratch(attention));
  kernels::NormBack norm;
  norm.x = hidden_;
  norm.weight_gradient.data = norm.bias_gradient.data = this;  // as if they were asked for
  scratch = std::max(scratch, backend_.scratch(norm));
  if (bounds_.expert_rank > 0) scratch = std::max(scratch, decoder_.routed_scratch(tokens, bounds_.expert_rank, true));
  for (const LayerWeights& layer : decoder_.layers_) {
    if (!layer.experts_up) continue;
    kernels::ExpertsBack experts;
    experts.forward.x = experts.forward.y = hidden_;
    experts.forward.active = it.experts->active;
    experts.forward.up = layer.experts_up.get();
    experts.forward.down = layer.experts_down.get();
    experts.dy = experts.dx = hidden_;
    experts.up_gradient.data = experts.down_gradient.data = this;
    scratch = std::max({scratch, backend_.scratch(experts.forward), backend_.scratch(experts)});
  }
  kernels::ScoreBack score;
  score.forward.x = picked_;
  score.forward.head = decoder_.head();
  scratch = std::max(scratch, backend_.scratch(score));
  // A first look keeps nothing of the others, and may take more for that: of few targets it scores a block all the
  // same.
  for (const bool others : {false, bounds_.rank > 0})
    scratch = std::max(scratch, decoder_.score_workspace(bounds_.targets, bounds_.targets, others));
  scratch_ = layout.scratch(scratch);
}

Room TrainingPass::room_of(std::size_t number) const {
  const std::int64_t tokens = step_.tokens.size;
  Room room = rooms_[number];
  for (Matrix Room::*each : {&Room::normed, &Room::delta, &Room::second, &Room::compressed_normed, &Room::values,
                             &Room::inner, &Room::low, &Room::dropped})
    room.*each = shared_.*each;
  for (Matrix Room::*each : {&Room::entered,
                             &Room::between,
                             &Room::attention_delta,
                             &Room::feed_forward_delta,
                             &Room::qkv,
                             &Room::q,
                             &Room::attended,
                             &Room::log_sums,
                             &Room::compressed,
                             &Room::bare,
                             &Room::shared_bare,
                             &Room::router_logits,
                             &Room::expert_weights,
                             &Room::normed,
                             &Room::delta,
                             &Room::second,
                             &Room::compressed_normed,
                             &Room::values,
                             &Room::inner,
                             &Room::low,
                             &Room::dropped})
    room.*each = some(room.*each, tokens);
  if (room.experts) room.experts.size = tokens * decoder_.it_.experts->active;
  for (Matrix Room::*each : {&Room::chosen_bare, &Room::chosen_inner, &Room::chosen_out, &Room::chosen_low})
    room.*each = some(shared_.*each, room.experts.size);
  room.scratch = scratch_;
  return room;
}

void TrainingPass::forth(Stream& stream, const Step& step, const Targets& targets) {
  step_ = step;
  targets_ = targets;
  const Pass pass{stream, step_};
  const std::int64_t rows = targets.rows.size;
  const Matrix hidden = some(hidden_, step.tokens.size);
  const Matrix first = some(rooms_.front().entered, step.tokens.size);
  decoder_.embed(pass, first);
  Decoder::Flow flow{first, {}, nullptr};
  for (std::size_t i = 0; i < rooms_.size(); ++i)
    decoder_.run_layer(pass, i, caches_[bounds_.again ? 0 : i], flow, room_of(i));
  decoder_.add_norm(pass, flow, hidden, nullptr, {}, room_of(rooms_.size() - 1));

  backend_.run(stream, kernels::Gather{hidden, targets.rows, some(picked_, rows)});
  kernels::AddNorm norm;
  norm.residual = some(picked_, rows);
  norm.norm = &decoder_.norm_;
  norm.out = some(normed_, rows);
  backend_.run(stream, norm);
  if (cooled_bias_ && targets.temperature != 1)
    backend_.run(stream, kernels::Copy{decoder_.head_bias_, 1 / targets.temperature, cooled_bias_});
  decoder_.score_normed(stream, scoring(), scratch_);
}

Scoring TrainingPass::scoring() const {
  const std::int64_t rows = targets_.rows.size;
  return {some(normed_, rows),
          targets_.starts,
          targets_.tokens,
          targets_.logprobs,
          targets_.best,
          some(log_sums_, rows),
          targets_.temperature,
          cooled_bias_,
          targets_.leave_head ? kernels::ScoredOthers{some(others_.sums, rows), some(others_.bases, rows)}
                              : kernels::ScoredOthers{}};
}

void TrainingPass::back(Stream& stream, Matrix coefficients, const Gradients& gradients) {
  const Pass pass{stream, step_};
  const std::int64_t rows = targets_.rows.size;
  const Matrix dpicked = some(dpicked_, rows), dhidden = some(hidden_, step_.tokens.size);
  kernels::ScoreBack score;
  score.forward = decoder_.score_of(scoring());
  score.log_sums = some(log_sums_, rows);
  score.coefficients = coefficients;
  score.dx = dpicked;
  score.head_gradient = gradients.head;
  score.bias_gradient = gradients.head_bias;
  if (targets_.leave_head) {
    score.others = scoring().others;
    score.logprobs = targets_.logprobs;
  }
  const bool cooled = gradients.head_bias && targets_.temperature != 1;
  if (cooled) {
    score.bias_gradient = dcooled_bias_;
    backend_.clear(stream, dcooled_bias_.data, static_cast<std::size_t>(dcooled_bias_.cols) * sizeof(float));
  }
  backend_.run(stream, score, scratch_);
  if (cooled) backend_.run(stream, kernels::RowSum{dcooled_bias_, 1 / targets_.temperature, gradients.head_bias});
  decoder_.sum(stream, dpicked);
  kernels::NormBack norm;
  norm.norm = &decoder_.norm_;
  norm.x = some(picked_, rows);
  norm.dy = norm.dx = dpicked;
  norm.weight_gradient = gradients.norm;
  norm.bias_gradient = gradients.norm_bias;
  backend_.run(stream, norm, scratch_);
  backend_.run(stream, kernels::Scatter{dpicked, targets_.rows, dhidden});

  for (std::size_t i = rooms_.size(); i-- > 0;) layer_back(pass, i, gradients.layers[i]);

  if (!gradients.embedding && !gradients.positions) return;
  kernels::EmbedBack embed;
  embed.tokens = step_.tokens;
  embed.first = vocab_of(decoder_.it_.vocab, decoder_.shard_).first;
  embed.scale = decoder_.it_.embedding_scale;
  embed.positions = step_.positions;
  embed.dx = dhidden;
  embed.table_gradient = gradients.embedding;
  embed.position_gradient = gradients.positions;
  backend_.run(stream, embed);
}

void TrainingPass::layer_back(const Pass& pass, std::size_t number, const LayerGradients& gradients) {
  const Architecture& it = decoder_.it_;
  const Room room = room_of(number);
  const Matrix dhidden = some(hidden_, step_.tokens.size), dnormed = some(dnormed_, step_.tokens.size);
  if (bounds_.again && number + 1 < rooms_.size()) {
    Decoder::Flow flow{room.entered, {}, nullptr};
    decoder_.run_layer({pass.stream, pass.step, true}, number, caches_.front(), flow, room);
  }
  const auto norm_again = [&](NormPlace place, Matrix residual) {
    kernels::AddNorm norm;
    norm.residual = residual;
    norm.norm = layer(number).norm(place);
    norm.out = room.normed;
    backend_.run(pass.stream, norm);
  };
  const auto delta_back = [&](NormPlace post, Matrix delta) {
    if (!it.post_norms) return std::pair(dhidden, it.residual_scale);
    const Matrix ddelta = some(ddelta_, step_.tokens.size);
    norm_back(pass, number, post, gradients, delta, dhidden, it.residual_scale, false, ddelta);
    return std::pair(ddelta, 1.0F);
  };

  if (it.parallel) {
    norm_again(it.parallel_norms ? NormPlace::kFeedForward : NormPlace::kAttention, room.entered);
    const Matrix aside = it.parallel_norms ? some(ddelta_, step_.tokens.size) : dnormed;
    feed_forward_back(pass, number, room, gradients, dhidden, it.residual_scale, false, aside);
    if (it.parallel_norms) {
      norm_again(NormPlace::kAttention, room.entered);
      attention_back(pass, number, room, gradients, dhidden, it.residual_scale, dnormed);
      decoder_.sum(pass.stream, aside);
      decoder_.sum(pass.stream, dnormed);
      norm_back(pass, number, NormPlace::kFeedForward, gradients, room.entered, aside, 1, true, dhidden);
    } else {
      // Both read the same.
      const Matrix other = some(ddelta_, step_.tokens.size);
      attention_back(pass, number, room, gradients, dhidden, it.residual_scale, other);
      kernels::AddNorm add;
      add.residual = dnormed;
      add.delta = other;
      backend_.run(pass.stream, add);
      decoder_.sum(pass.stream, dnormed);
    }
    norm_back(pass, number, NormPlace::kAttention, gradients, room.entered, dnormed, 1, true, dhidden);
    return;
  }

  const auto [dmade, made_scale] = delta_back(NormPlace::kFeedForwardPost, room.feed_forward_delta);
  norm_again(NormPlace::kFeedForward, room.between);
  feed_forward_back(pass, number, room, gradients, dmade, made_scale, false, dnormed);
  decoder_.sum(pass.stream, dnormed);
  norm_back(pass, number, NormPlace::kFeedForward, gradients, room.between, dnormed, 1, true, dhidden);

  const auto [dattended, attended_scale] = delta_back(NormPlace::kAttentionPost, room.attention_delta);
  norm_again(NormPlace::kAttention, room.entered);
  attention_back(pass, number, room, gradients, dattended, attended_scale, dnormed);
  decoder_.sum(pass.stream, dnormed);
  norm_back(pass, number, NormPlace::kAttention, gradients, room.entered, dnormed, 1, true, dhidden);
}

void TrainingPass::norm_back(const Pass& pass, std::size_t number, NormPlace place, const LayerGradients& gradients,
                             Matrix x, Matrix dy, float scale, bool add, Matrix dx) {
  kernels::NormBack op;
  op.norm = layer(number).norm(place);
  op.x = x;
  op.dy = dy;
  op.scale = scale;
  op.add = add;
  op.dx = dx;
  op.weight_gradient = gradients.norms[place];
  op.bias_gradient = gradients.norm_biases[place];
  backend_.run(pass.stream, op, scratch_);
}

void TrainingPass::project_back(const Pass& pass, std::size_t number, Place place, const Room& room,
                                const LayerGradients& gradients, Matrix x, Matrix dy, float scale, bool add,
                                Matrix dx) {
  Stream& stream = pass.stream;
  backend_.run(stream, kernels::LinearBack{dy, layer(number).weight(place), scale, add, dx});
  if (const Matrix& gradient = gradients.weights[place])
    backend_.run(stream, kernels::WeightGradient{dy, x, scale, gradient});
  if (const Matrix& gradient = gradients.biases[place]) backend_.run(stream, kernels::RowSum{dy, scale, gradient});

  const std::vector<LowRank>* parts = decoder_.parts_of(pass, number, place);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    const LowRankGradient& gradient = gradients.adapter[place][i];
    const Matrix in = decoder_.dropped(pass, number, place, i, room, x);
    const Matrix low = kernels::columns(room.low, 0, part.rank());
    const Matrix dlow = kernels::columns(some(dlow_, dy.rows), 0, part.rank());
    const Matrix own = kernels::columns(dy, part.from, part.b->rows);
    kernels::Linear again;
    again.x = in;
    again.weight = part.a;
    again.y = low;
    backend_.run(stream, again);
    backend_.run(stream, kernels::WeightGradient{low, own, scale * part.scale, gradient.b});
    backend_.run(stream, kernels::LinearBack{own, part.b, scale * part.scale, false, dlow});
    backend_.run(stream, kernels::WeightGradient{dlow, in, 1, gradient.a});
    if (pass.step.drops.rate <= 0) {
      backend_.run(stream, kernels::LinearBack{dlow, part.a, 1, true, dx});
      continue;
    }
    const Matrix din = kernels::columns(room.dropped, 0, x.cols);
    backend_.run(stream, kernels::LinearBack{dlow, part.a, 1, false, din});
    kernels::Dropout dropout = decoder_.dropout_of(pass, number, place, i, din, dx);
    dropout.add = true;
    backend_.run(stream, dropout);
  }
}

void TrainingPass::through_attention(const Pass& pass, std::size_t number, const Room& room) {
  const std::int64_t tokens = step_.tokens.size;
  kernels::AttentionBack op;
  op.forward = decoder_.attention_of(pass, layer(number), caches_[bounds_.again ? 0 : number], room);
  op.dout = some(dattended_, tokens);
  op.dq = kernels::tight(some(dq_, tokens), decoder_.heads_ * caches_.front().shape.key_dim);
  op.dk = some(dk_, tokens);
  op.dv = some(dv_, tokens);
  backend_.run(pass.stream, op, scratch_);
}

void TrainingPass::attention_back(const Pass& pass, std::size_t number, const Room& room,
                                  const LayerGradients& gradients, Matrix dy, float scale, Matrix dx) {
  if (decoder_.it_.attention.latent) return latent_back(pass, number, room, gradients, dy, scale, dx);
  const std::int64_t tokens = step_.tokens.size;
  project_back(pass, number, Place::kOut, room, gradients, room.attended, dy, scale, false, some(dattended_, tokens));
  through_attention(pass, number, room);
  kernels::RotaryBack rotary;
  rotary.qkv = rotary.dqkv = room.qkv;
  rotary.clip = decoder_.it_.attention.clip;
  rotary.heads = static_cast<int>(decoder_.heads_);
  rotary.kv_heads = static_cast<int>(decoder_.kv_heads_);
  if (decoder_.it_.attention.head_norms) {
    rotary.q_norm = layer(number).norm(NormPlace::kQuery);
    rotary.k_norm = layer(number).norm(NormPlace::kKey);
    rotary.q_gradient = gradients.norms[NormPlace::kQuery];
    rotary.k_gradient = gradients.norms[NormPlace::kKey];
  }
  rotary.rotation = decoder_.rotation_of(step_);
  rotary.bases = step_.bases;
  rotary.positions = step_.positions;
  rotary.dq = some(dq_, tokens);
  rotary.dk = some(dk_, tokens);
  rotary.dv = some(dv_, tokens);
  backend_.run(pass.stream, rotary);
  project_back(pass, number, Place::kQkv, room, gradients, room.normed, room.qkv, 1, false, dx);
}

void TrainingPass::latent_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                               Matrix dy, float scale, Matrix dx) {
  const LatentKind& latent = *decoder_.it_.attention.latent;
  const kernels::KvShape shape = decoder_.kv_shape(decoder_.dtype());
  const std::int64_t tokens = step_.tokens.size, heads = decoder_.heads_, q_dim = decoder_.it_.attention.head_dim;
  const LayerWeights& weights = layer(number);
  const Matrix queries = kernels::columns(room.qkv, 0, heads * q_dim);
  const Matrix kv = kernels::columns(room.qkv, heads * q_dim, shape.key_dim);

  const std::vector<LowRank>* parts = decoder_.parts_of(pass, number, Place::kKeyValueUp);
  const LowRank* part = parts ? &parts->front() : nullptr;  // there is one kv_b_proj
  const LowRankGradient* gradient = parts ? &gradients.adapter[Place::kKeyValueUp].front() : nullptr;
  const Matrix values = decoder_.latent_values(pass, number, room);
  // The gradient of the heads' own values has the place of the latent queries' for a while.
  const Matrix dvalues = kernels::columns(some(dq_, tokens), 0, heads * latent.value_dim);
  project_back(pass, number, Place::kOut, room, gradients, values, dy, scale, false, dvalues);
  for (std::int64_t h = 0; gradients.value_up && h < heads; ++h)
    backend_.run(pass.stream,
                 kernels::WeightGradient{kernels::columns(dvalues, h * latent.value_dim, latent.value_dim),
                                         kernels::columns(room.attended, h * latent.kv_rank, latent.kv_rank), 1,
                                         rows_of_stack(gradients.value_up, h, latent.value_dim)});
  kernels::HeadLinearBack from_values;
  from_values.dy = dvalues;
  from_values.dy_stride = latent.value_dim;
  from_values.weight = weights.value_up.get();
  from_values.dx = some(dattended_, tokens);
  from_values.dx_stride = latent.kv_rank;
  backend_.run(pass.stream, from_values);
  if (part) values_back(pass, room, *part, *gradient, dvalues);

  through_attention(pass, number, room);
  const Matrix dq = kernels::tight(some(dq_, tokens), heads * shape.key_dim), dk = some(dk_, tokens);
  for (std::int64_t h = 0; gradients.key_up && h < heads; ++h)
    backend_.run(pass.stream, kernels::WeightGradient{kernels::columns(dq, h * shape.key_dim, latent.kv_rank),
                                                      kernels::columns(queries, h * q_dim, latent.nope_dim), 1,
                                                      rows_of_stack(gradients.key_up, h, latent.kv_rank)});
  const Matrix dlow = part ? keys_back(pass, room, *part, *gradient, queries, dq) : Matrix{};
  kernels::HeadLinearBack absorbed;
  absorbed.dy = dq;
  absorbed.dy_stride = shape.key_dim;
  absorbed.weight = weights.key_up.get();
  absorbed.dx = queries;
  absorbed.dx_stride = q_dim;
  backend_.run(pass.stream, absorbed);
  if (part) {
    absorbed.dy = dlow;
    absorbed.dy_stride = part->rank();
    absorbed.weight = part->b_keys;
    absorbed.add = true;
    backend_.run(pass.stream, absorbed);
  }
  kernels::LatentRotaryBack rotary;
  rotary.heads = static_cast<int>(heads);
  rotary.q_from = latent.nope_dim;
  rotary.q_stride = q_dim;
  rotary.kv = rotary.dkv = kv;
  rotary.kv_norm = weights.norm(NormPlace::kLatentKeyValue);
  rotary.rotation = decoder_.rotation_;
  rotary.positions = step_.positions;
  rotary.latent = static_cast<int>(latent.kv_rank);
  rotary.dq = dq;
  rotary.dk = dk;
  rotary.dq_turned = queries;
  rotary.kv_gradient = gradients.norms[NormPlace::kLatentKeyValue];
  backend_.run(pass.stream, rotary);

  project_back(pass, number, Place::kKeyValueDown, room, gradients, room.normed, kv, 1, false, dx);
  if (!weights.weight(Place::kQueryDown))
    return project_back(pass, number, Place::kQueryUp, room, gradients, room.normed, queries, 1, true, dx);
  kernels::AddNorm again;
  again.residual = room.compressed;
  again.norm = weights.norm(NormPlace::kLatentQuery);
  again.out = room.compressed_normed;
  backend_.run(pass.stream, again);
  const Matrix dcompressed = some(dcompressed_, tokens);
  project_back(pass, number, Place::kQueryUp, room, gradients, room.compressed_normed, queries, 1, false, dcompressed);
  norm_back(pass, number, NormPlace::kLatentQuery, gradients, room.compressed, dcompressed, 1, false, dcompressed);
  project_back(pass, number, Place::kQueryDown, room, gradients, room.normed, dcompressed, 1, true, dx);
}

void TrainingPass::values_back(const Pass& pass, const Room& room, const LowRank& part, const LowRankGradient& gradient,
                               Matrix dvalues) {
  const std::int64_t tokens = step_.tokens.size, heads = decoder_.heads_, rank = part.rank();
  const std::int64_t own = part.b->rows, keys = part.b_keys->cols;
  const Matrix low = decoder_.low_of_heads(room, part), dlow = kernels::tight(some(dlow_, tokens), heads * rank);
  const Matrix attended = kernels::by_head(room.attended, heads);
  kernels::Linear again;
  again.x = attended;
  again.weight = part.a;
  again.scale = part.scale;
  again.y = kernels::by_head(low, heads);
  backend_.run(pass.stream, again);
  for (std::int64_t h = 0; h < heads; ++h)
    backend_.run(pass.stream,
                 kernels::WeightGradient{kernels::columns(low, h * rank, rank), kernels::columns(dvalues, h * own, own),
                                         1, kernels::columns(gradient.b, h * (keys + own) + keys, own)});
  kernels::HeadLinearBack up;
  up.dy = dvalues;
  up.dy_stride = own;
  up.weight = part.b;
  up.dx = dlow;
  up.dx_stride = rank;
  backend_.run(pass.stream, up);
  const Matrix dlows = kernels::by_head(dlow, heads);
  backend_.run(pass.stream, kernels::WeightGradient{dlows, attended, part.scale, gradient.a});
  backend_.run(pass.stream,
               kernels::LinearBack{dlows, part.a, part.scale, true, kernels::by_head(some(dattended_, tokens), heads)});
}

Matrix TrainingPass::keys_back(const Pass& pass, const Room& room, const LowRank& part, const LowRankGradient& gradient,
                               Matrix queries, Matrix dq) {
  const std::int64_t heads = decoder_.heads_, rank = part.rank(), q_dim = decoder_.it_.attention.head_dim;
  const std::int64_t keys = part.b_keys->cols, each = keys + part.b->rows;
  const Matrix low = decoder_.low_of_heads(room, part);
  const Matrix dlow = kernels::tight(some(dlow_, step_.tokens.size), heads * rank);
  const Matrix dcompressed = kernels::columns(kernels::by_head(dq, heads), 0, part.a->cols);
  kernels::HeadLinear again;
  again.x = queries;
  again.x_stride = q_dim;
  again.weight = part.b_keys;
  again.y = low;
  again.y_stride = rank;
  backend_.run(pass.stream, again);
  backend_.run(pass.stream, kernels::WeightGradient{kernels::by_head(low, heads), dcompressed, part.scale, gradient.a});
  backend_.run(pass.stream,
               kernels::LinearBack{dcompressed, part.a_turned, part.scale, false, kernels::by_head(dlow, heads)});
  for (std::int64_t h = 0; h < heads; ++h)
    backend_.run(pass.stream, kernels::WeightGradient{kernels::columns(dlow, h * rank, rank),
                                                      kernels::columns(queries, h * q_dim, keys), 1,
                                                      kernels::columns(gradient.b, h * each, keys)});
  return dlow;
}

void TrainingPass::two_back(const Pass& pass, std::size_t number, Place up, Place down, Matrix bare, const Room& room,
                            const LayerGradients& gradients, Matrix dy, float scale, bool add, Matrix dx) {
  const FeedForwardKind& kind = decoder_.it_.feed_forward;
  const std::int64_t wide = layer(number).weight(down)->cols;
  bare = kernels::columns(bare, 0, layer(number).weight(up)->rows);
  const Matrix inner = kernels::columns(room.inner, 0, wide);
  const Matrix dinner = kernels::columns(some(dinner_, step_.tokens.size), 0, wide);
  if (gradients.weights[down] || decoder_.parts_of(pass, number, down))
    backend_.run(pass.stream, kernels::Activate{bare, kind.activation, kind.gated, inner});
  project_back(pass, number, down, room, gradients, inner, dy, scale, false, dinner);
  backend_.run(pass.stream, kernels::ActivateBack{bare, kind.activation, kind.gated, dinner, bare});
  project_back(pass, number, up, room, gradients, room.normed, bare, 1, add, dx);
}

kernels::RoutedLinearBack TrainingPass::routed_to(const Room& room, Matrix dy, const kernels::Weight* weight,
                                                  std::int64_t first, Matrix dx) const {
  kernels::RoutedLinearBack op;
  op.dy = dy;
  op.experts = room.experts;
  op.active = decoder_.it_.experts->active;
  op.first = first;
  op.weight = weight;
  op.dx = dx;
  return op;
}

kernels::RoutedGradient TrainingPass::routed_gradient(const Room& room, const LowRank& part, Matrix dy, Matrix x,
                                                      Matrix gradient) const {
  kernels::RoutedGradient op;
  op.dy = dy;
  op.x = x;
  op.experts = room.experts;
  op.active = decoder_.it_.experts->active;
  op.first = part.first_expert;
  op.count = part.a->count;
  op.scale = part.scale;
  op.gradient = gradient;
  return op;
}

// A choice's weight comes last on the way forth, so it is left out as far as what it weighs is asked for.
void TrainingPass::routed_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                               Matrix dy, Matrix dx, Matrix dweights) {
  Stream& stream = pass.stream;
  const FeedForwardKind& kind = decoder_.it_.feed_forward;
  const int active = decoder_.it_.experts->active;
  const std::int64_t first = part_of(decoder_.it_.experts->count, decoder_.shard_).first;
  const LayerWeights& weights = layer(number);
  const Matrix bare = room.chosen_bare, inner = room.chosen_inner, dinner = some(dchosen_inner_, inner.rows);
  const auto weighed = [&](Matrix rows) { return kernels::Weigh{rows, active, room.expert_weights, rows, {}, {}}; };
  const auto low_of = [&](const LowRank& part, Matrix x) {
    const Matrix low = kernels::columns(room.chosen_low, 0, part.rank());
    backend_.run(stream, decoder_.routed(room, x, part.a, part.first_expert, low), scratch_);
    return low;
  };
  const auto dlow_of = [&](const LowRank& part, Matrix dout) {
    const Matrix dlow = kernels::columns(some(dchosen_low_, inner.rows), 0, part.rank());
    backend_.run(stream, routed_to(room, dout, part.b, part.first_expert, dlow), scratch_);
    return dlow;
  };
  const auto add_from = [&](const LowRank& part, Matrix dlow, Matrix to) {
    kernels::RoutedLinearBack op = routed_to(room, dlow, part.a, part.first_expert, to);
    op.scale = part.scale;
    op.add = true;
    backend_.run(stream, op, scratch_);
  };

  decoder_.routed_inner(pass, number, room, room.normed);
  backend_.run(stream, routed_to(room, dy, weights.experts_down.get(), first, dinner), scratch_);
  const std::vector<LowRank>* parts = decoder_.parts_of(pass, number, Place::kExpertsDown);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    const LowRankGradient& gradient = gradients.adapter[Place::kExpertsDown][i];
    const Matrix low = low_of(part, inner), dlow = dlow_of(part, dy);
    backend_.run(stream, weighed(low));
    backend_.run(stream, routed_gradient(room, part, low, dy, gradient.b), scratch_);
    add_from(part, dlow, dinner);
    backend_.run(stream, weighed(dlow));
    backend_.run(stream, routed_gradient(room, part, dlow, inner, gradient.a), scratch_);
  }
  backend_.run(stream, kernels::Weigh{dinner, active, room.expert_weights, dinner, inner, dweights});

  backend_.run(stream, kernels::ActivateBack{bare, kind.activation, kind.gated, dinner, bare});
  const Matrix dchosen = room.chosen_out;  // which is over
  backend_.run(stream, routed_to(room, bare, weights.experts_up.get(), first, dchosen), scratch_);
  parts = decoder_.parts_of(pass, number, Place::kExpertsUp);
  for (std::size_t i = 0; parts && i < parts->size(); ++i) {
    const LowRank& part = (*parts)[i];
    const LowRankGradient& gradient = gradients.adapter[Place::kExpertsUp][i];
    const Matrix own = kernels::columns(bare, part.from, part.b->rows);
    const Matrix low = low_of(part, room.normed), dlow = dlow_of(part, own);
    backend_.run(stream, routed_gradient(room, part, low, own, gradient.b), scratch_);
    backend_.run(stream, routed_gradient(room, part, dlow, room.normed, gradient.a), scratch_);
    add_from(part, dlow, dchosen);
  }
  backend_.run(stream, kernels::Mix{dchosen, active, {}, dx});
}

void TrainingPass::experts_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                                Matrix dy, Matrix dx) {
  const LayerWeights& weights = layer(number);
  const Matrix dweights = some(dweights_, step_.tokens.size);
  if (weights.experts_up && decoder_.has_expert_adapters(pass, number)) {
    routed_back(pass, number, room, gradients, dy, dx, dweights);
  } else if (weights.experts_up) {
    kernels::ExpertsBack op;
    op.forward = decoder_.experts_of(weights, room, room.normed);
    op.dy = dy;
    op.dx = dx;
    op.dweights = dweights;
    op.up_gradient = gradients.experts_up;
    op.down_gradient = gradients.experts_down;
    backend_.run(pass.stream, op, scratch_);
  } else {
    for (const Matrix& none : {dx, dweights})
      backend_.clear(pass.stream, none.data, static_cast<std::size_t>(none.rows) * row_bytes(none));
  }
  kernels::RouteBack route;
  route.forward = decoder_.route_of(weights, room);
  route.dweights = dweights;
  route.dlogits = some(dlogits_, step_.tokens.size);
  backend_.run(pass.stream, route);
  project_back(pass, number, Place::kRouter, room, gradients, room.normed, route.dlogits, 1, true, dx);
}

void TrainingPass::feed_forward_back(const Pass& pass, std::size_t number, const Room& room,
                                     const LayerGradients& gradients, Matrix dy, float scale, bool add, Matrix dx) {
  const LayerWeights& weights = layer(number);
  if (!weights.weight(Place::kRouter))
    return two_back(pass, number, Place::kUp, Place::kDown, room.bare, room, gradients, dy, scale, add, dx);
  if (scale != 1) {
    const Matrix scaled = some(ddelta_, step_.tokens.size);
    backend_.run(pass.stream, kernels::Copy{dy, scale, scaled});
    dy = scaled;
  }
  experts_back(pass, number, room, gradients, dy, dx);
  if (weights.weight(Place::kSharedUp))
    two_back(pass, number, Place::kSharedUp, Place::kSharedDown, room.shared_bare, room, gradients, dy, 1, true, dx);
}

}  // namespace orch::model
