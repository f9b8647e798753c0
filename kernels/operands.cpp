#include "kernels/operands.h"

namespace orch::kernels {
namespace {

class Taker {
 public:
  explicit Taker(const Backend& backend) : backend_(backend) {}

  Taker& use(Use use, const Matrix& matrix) { return add(use, matrix); }
  Taker& read(const Matrix& matrix) { return add(Use::kRead, matrix); }
  Taker& written(const Matrix& matrix) { return add(Use::kWritten, matrix); }
  Taker& changed(const Matrix& matrix) { return add(Use::kChanged, matrix); }
  Taker& read(const Ints& ints) { return add(Use::kRead, ints); }
  Taker& written(const Ints& ints) { return add(Use::kWritten, ints); }
  Taker& changed(const Ints& ints) { return add(Use::kChanged, ints); }
  Taker& cache(Use use, const KvCache& cache) {
    const std::size_t page = backend_.page_bytes(cache.shape);
    return add(use, cache.data, page * static_cast<std::size_t>(cache.pages), 1, 0);
  }
  Taker& rotation(const Rotation& rotation) { return rotation.dims > 0 ? read(rotation.frequencies) : *this; }
  Taker& weight(const Weight*& weight) {
    if (weight) taken_.weights.push_back(&weight);
    return *this;
  }
  Taker& norm(const Norm*& norm) {
    if (!norm) return *this;
    taken_.norms.push_back(&norm);
    return read(norm->weight).read(norm->bias);
  }
  Taker& changed_weight(Weight*& weight) {
    taken_.changed_weights.push_back(&weight);
    return *this;
  }
  Taker& result(bool add, const Matrix& matrix) { return use(add ? Use::kChanged : Use::kWritten, matrix); }
  Operands done() { return std::move(taken_); }

 private:
  Taker& add(Use use, const Matrix& matrix) {
    const auto stride = static_cast<std::size_t>(static_cast<double>(matrix.stride) * bytes_of(matrix.dtype));
    return add(use, matrix.data, row_bytes(matrix), static_cast<std::size_t>(matrix.rows), stride);
  }
  Taker& add(Use use, const Ints& ints) {
    return add(use, ints.data, static_cast<std::size_t>(ints.size) * sizeof(std::int32_t), 1, 0);
  }
  Taker& add(Use use, void* data, std::size_t row, std::size_t rows, std::size_t stride) {
    if (data && row > 0 && rows > 0) taken_.memory.push_back({use, static_cast<std::byte*>(data), row, rows, stride});
    return *this;
  }

  const Backend& backend_;
  Operands taken_;
};

}  // namespace

Operands operands_of(const Backend& backend, Embed& op) {
  Taker taker(backend);
  taker.read(op.tokens).weight(op.table).weight(op.position_table);
  if (op.position_table) taker.read(op.positions);
  return taker.written(op.x).done();
}

Operands operands_of(const Backend& backend, AddNorm& op) {
  Taker taker(backend);
  if (op.delta) {
    taker.use(op.sum ? Use::kRead : Use::kChanged, op.residual);
    taker.use(op.delta_norm ? Use::kChanged : Use::kRead, op.delta).norm(op.delta_norm).written(op.sum);
  } else {
    taker.read(op.residual);
  }
  if (op.out) taker.norm(op.norm).written(op.out);
  return taker.done();
}

Operands operands_of(const Backend& backend, Linear& op) {
  return Taker(backend).read(op.x).weight(op.weight).read(op.bias).result(op.add, op.y).done();
}

Operands operands_of(const Backend& backend, HeadLinear& op) {
  Taker taker(backend);
  taker.read(op.x).weight(op.weight);
  // Between the heads' results there may be others.
  for (std::int64_t head = 0; head < op.weight->count; ++head)
    taker.result(op.add, columns(op.y, head * op.y_stride, op.weight->rows));
  return taker.done();
}

Operands operands_of(const Backend& backend, Rotary& op) {
  return Taker(backend)
      .read(op.qkv)
      .norm(op.q_norm)
      .norm(op.k_norm)
      .rotation(op.rotation)
      .read(op.bases)
      .read(op.positions)
      .read(op.slots)
      .cache(Use::kChanged, op.cache)
      .written(op.q)
      .done();
}

Operands operands_of(const Backend& backend, LatentRotary& op) {
  return Taker(backend)
      .read(op.q_turned)
      .read(op.kv)
      .norm(op.kv_norm)
      .rotation(op.rotation)
      .read(op.positions)
      .read(op.slots)
      .cache(Use::kChanged, op.cache)
      .changed(op.q)
      .done();
}

Operands operands_of(const Backend& backend, Attention& op) {
  return Taker(backend)
      .read(op.q)
      .cache(Use::kRead, op.cache)
      .read(op.sequences.starts)
      .read(op.sequences.lengths)
      .read(op.sequences.table)
      .read(op.slopes)
      .written(op.out)
      .written(op.log_sums)
      .done();
}

Operands operands_of(const Backend& backend, Route& op) {
  return Taker(backend)
      .read(op.logits)
      .read(op.choice_bias)
      .written(op.experts)
      .written(op.weights)
      .changed(op.counts)
      .done();
}

Operands operands_of(const Backend& backend, Experts& op) {
  return Taker(backend)
      .read(op.x)
      .read(op.experts)
      .read(op.weights)
      .weight(op.up)
      .weight(op.down)
      .read(op.up_bias)
      .read(op.down_bias)
      .written(op.y)
      .done();
}

Operands operands_of(const Backend& backend, RoutedLinear& op) {
  return Taker(backend).read(op.x).read(op.experts).weight(op.weight).result(op.add, op.y).done();
}

Operands operands_of(const Backend& backend, Mix& op) {
  return Taker(backend).read(op.x).read(op.weights).written(op.y).done();
}

Operands operands_of(const Backend& backend, Gather& op) {
  return Taker(backend).read(op.x).read(op.rows).written(op.y).done();
}

Operands operands_of(const Backend& backend, Score& op) {
  return Taker(backend)
      .read(op.x)
      .weight(op.head)
      .read(op.bias)
      .read(op.starts)
      .read(op.targets)
      .written(op.stats)
      .written(op.found)
      .written(op.others.sums)
      .written(op.others.bases)
      .done();
}

Operands operands_of(const Backend& backend, CombineScores& op) {
  return Taker(backend)
      .read(op.stats)
      .read(op.found)
      .read(op.starts)
      .written(op.logprobs)
      .written(op.best)
      .written(op.log_sums)
      .done();
}

Operands operands_of(const Backend& backend, Sample& op) {
  return Taker(backend)
      .read(op.logits)
      .read(op.temperature)
      .read(op.top_p)
      .read(op.top_k)
      .read(op.uniforms)
      .written(op.tokens)
      .done();
}

Operands operands_of(const Backend& backend, Activate& op) { return Taker(backend).read(op.x).written(op.y).done(); }

Operands operands_of(const Backend& backend, ActivateBack& op) {
  return Taker(backend).read(op.x).read(op.dy).written(op.dx).done();
}

Operands operands_of(const Backend& backend, LinearBack& op) {
  return Taker(backend).read(op.dy).weight(op.weight).result(op.add, op.dx).done();
}

Operands operands_of(const Backend& backend, HeadLinearBack& op) {
  Taker taker(backend);
  taker.read(op.dy).weight(op.weight);
  for (std::int64_t head = 0; head < op.weight->count; ++head)
    taker.result(op.add, columns(op.dx, head * op.dx_stride, op.weight->cols));
  return taker.done();
}

Operands operands_of(const Backend& backend, WeightGradient& op) {
  return Taker(backend).read(op.dy).read(op.x).changed(op.gradient).done();
}

Operands operands_of(const Backend& backend, RowSum& op) { return Taker(backend).read(op.x).changed(op.sum).done(); }

Operands operands_of(const Backend& backend, NormBack& op) {
  return Taker(backend)
      .norm(op.norm)
      .read(op.x)
      .read(op.dy)
      .result(op.add, op.dx)
      .changed(op.weight_gradient)
      .changed(op.bias_gradient)
      .done();
}

Operands operands_of(const Backend& backend, RotaryBack& op) {
  return Taker(backend)
      .read(op.qkv)
      .norm(op.q_norm)
      .norm(op.k_norm)
      .rotation(op.rotation)
      .read(op.bases)
      .read(op.positions)
      .read(op.dq)
      .read(op.dk)
      .read(op.dv)
      .written(op.dqkv)
      .changed(op.q_gradient)
      .changed(op.k_gradient)
      .done();
}

Operands operands_of(const Backend& backend, LatentRotaryBack& op) {
  Taker taker(backend);
  taker.read(op.kv).norm(op.kv_norm).rotation(op.rotation).read(op.positions).read(op.dq).read(op.dk);
  for (std::int64_t head = 0; head < op.heads; ++head)
    taker.written(columns(op.dq_turned, head * op.q_stride + op.q_from, op.dk.cols - op.latent));
  return taker.written(op.dkv).changed(op.kv_gradient).done();
}

Operands operands_of(const Backend& backend, AttentionBack& op) {
  const Attention& forward = op.forward;
  return Taker(backend)
      .read(forward.q)
      .cache(Use::kRead, forward.cache)
      .read(forward.sequences.starts)
      .read(forward.sequences.lengths)
      .read(forward.sequences.table)
      .read(forward.slopes)
      .read(forward.out)
      .read(forward.log_sums)
      .read(op.dout)
      .written(op.dq)
      .written(op.dk)
      .written(op.dv)
      .done();
}

Operands operands_of(const Backend& backend, RouteBack& op) {
  return Taker(backend).read(op.forward.logits).read(op.forward.experts).read(op.dweights).written(op.dlogits).done();
}

Operands operands_of(const Backend& backend, ExpertsBack& op) {
  Experts& forward = op.forward;
  return Taker(backend)
      .read(forward.x)
      .read(forward.experts)
      .read(forward.weights)
      .weight(forward.up)
      .weight(forward.down)
      .read(forward.up_bias)
      .read(forward.down_bias)
      .read(op.dy)
      .written(op.dx)
      .written(op.dweights)
      .changed(op.up_gradient)
      .changed(op.down_gradient)
      .done();
}

Operands operands_of(const Backend& backend, RoutedLinearBack& op) {
  return Taker(backend).read(op.dy).read(op.experts).weight(op.weight).result(op.add, op.dx).done();
}

Operands operands_of(const Backend& backend, RoutedGradient& op) {
  return Taker(backend).read(op.dy).read(op.x).read(op.experts).changed(op.gradient).done();
}

Operands operands_of(const Backend& backend, Weigh& op) {
  return Taker(backend).read(op.dy).read(op.weights).read(op.x).written(op.dx).written(op.dweights).done();
}

Operands operands_of(const Backend& backend, EmbedBack& op) {
  Taker taker(backend);
  taker.read(op.tokens);
  if (op.position_gradient) taker.read(op.positions);
  return taker.read(op.dx).changed(op.table_gradient).changed(op.position_gradient).done();
}

Operands operands_of(const Backend& backend, ScoreBack& op) {
  return Taker(backend)
      .read(op.forward.x)
      .weight(op.forward.head)
      .read(op.forward.bias)
      .read(op.forward.starts)
      .read(op.forward.targets)
      .read(op.log_sums)
      .read(op.coefficients)
      .read(op.others.sums)
      .read(op.others.bases)
      .read(op.logprobs)
      .written(op.dx)
      .changed(op.head_gradient)
      .changed(op.bias_gradient)
      .done();
}

Operands operands_of(const Backend& backend, Scatter& op) {
  return Taker(backend).read(op.x).read(op.rows).written(op.y).done();
}

Operands operands_of(const Backend& backend, Dropout& op) {
  return Taker(backend).read(op.x).read(op.names).result(op.add, op.y).done();
}

Operands operands_of(const Backend& backend, Copy& op) { return Taker(backend).read(op.from).written(op.to).done(); }

Operands operands_of(const Backend& backend, Repack& op) {
  return Taker(backend).read(op.from).changed_weight(op.weight).done();
}

Operands operands_of(const Backend& backend, AdamW& op) {
  return Taker(backend).changed(op.parameter).read(op.gradient).changed(op.first).changed(op.second).done();
}

Operands operands_of(const Backend& backend, Blend& op) { return Taker(backend).changed(op.x).read(op.y).done(); }

Operands operands_of(const Backend& backend, SquareSum& op) { return Taker(backend).read(op.x).written(op.sum).done(); }

}  // namespace orch::kernels
