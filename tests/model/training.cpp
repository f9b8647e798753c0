#include "model/training.h"

namespace orch::model {

using kernels::Matrix;
using kernels::test::Numbers;

namespace {

/// A gradient of what a source describes, and where it belongs.
class Wanted {
 public:
  Wanted(kernels::test::Device& device) : device_(device) {}

  Matrix of(const std::vector<Source>& stack) {
    if (stack.empty() || stack.front().empty()) return {};
    const std::int64_t rows = stack.front().rows() * static_cast<std::int64_t>(stack.size()), cols = stack.front().cols;
    const Numbers zeros{std::vector<double>(static_cast<std::size_t>(rows * cols)), rows, cols};
    pieces_.push_back({stack, device_.put(zeros, DType::kFp32)});
    return pieces_.back().gradient;
  }
  Matrix of(const Source& source) { return of(std::vector<Source>{source}); }
  /// A vector's, as a row.
  Matrix row(const Source& source) {
    Matrix column = of(source);
    return {column.data, column.dtype, column ? 1 : 0, column.rows, column.rows};
  }

  Tensors tensors() {
    Tensors all;
    for (const Piece& piece : pieces_) {
      const Numbers numbers = device_.get(piece.gradient);
      std::vector<float> floats(numbers.values.begin(), numbers.values.end());
      const std::size_t each = floats.size() / piece.stack.size();
      for (std::size_t i = 0; i < piece.stack.size(); ++i)
        put_back(piece.stack[i], std::span(floats).subspan(i * each, each), all);
    }
    return all;
  }

 private:
  struct Piece {
    std::vector<Source> stack;
    Matrix gradient;
  };
  kernels::test::Device& device_;
  std::vector<Piece> pieces_;
};

}  // namespace

Given::Given(Runner& runner, kernels::test::Device& device, const std::vector<Lesson>& lessons, bool again,
             std::int64_t rank, bool drops, std::int64_t expert_rank) {
  std::vector<std::int32_t> tokens, positions, slots, starts = {0}, lengths, table, rows, target_starts = {0},
                                                      target_tokens;
  Numbers factors{{}, 0, 1};
  std::int32_t page = 0;
  for (const Lesson& lesson : lessons)
    bounds.max_length = std::max(bounds.max_length, static_cast<std::int64_t>(lesson.ids.size()));
  const std::int64_t width = (bounds.max_length + kernels::kPageTokens - 1) / kernels::kPageTokens;
  for (const Lesson& lesson : lessons) {
    const auto length = static_cast<std::int32_t>(lesson.ids.size());
    for (std::int32_t t = 0; t < length; ++t) {
      if (t + 1 < length) {
        rows.push_back(static_cast<std::int32_t>(tokens.size()));
        target_tokens.push_back(lesson.ids[static_cast<std::size_t>(t) + 1]);
        target_starts.push_back(static_cast<std::int32_t>(target_tokens.size()));
        factors.values.push_back(-static_cast<double>(lesson.coefficients[static_cast<std::size_t>(t) + 1]));
      }
      tokens.push_back(lesson.ids[static_cast<std::size_t>(t)]);
      positions.push_back(t);
      slots.push_back(page * kernels::kPageTokens + t);
    }
    for (std::int32_t entry = 0; entry < width; ++entry) {
      const std::int32_t count = std::min(kernels::kPageTokens, length - entry * kernels::kPageTokens);
      table.insert(table.end(), {count > 0 ? page++ : 1 << 20, 0, std::max(count, 0)});
    }
    starts.push_back(static_cast<std::int32_t>(tokens.size()));
    lengths.push_back(length);
  }
  bounds.tokens = static_cast<std::int64_t>(tokens.size());
  bounds.sequences = static_cast<std::int64_t>(lessons.size());
  bounds.targets = static_cast<std::int64_t>(rows.size());
  bounds.rank = rank;
  bounds.drops = drops;
  bounds.expert_rank = expert_rank;
  bounds.again = again;
  factors.rows = bounds.targets;

  step.tokens = device.put(tokens);
  step.positions = device.put(positions);
  step.slots = device.put(slots);
  if (runner.architecture().rope.dynamic > 0)
    step.bases = device.put(Numbers{std::vector<double>(tokens.size(), 1.0), 1, bounds.tokens}, DType::kFp32);
  step.sequences = {device.put(starts), device.put(lengths), device.put(table), bounds.sequences, width,
                    bounds.max_length,  bounds.max_length};
  targets.rows = device.put(rows);
  targets.starts = device.put(target_starts);
  targets.tokens = device.put(target_tokens);
  targets.logprobs = device.poisoned(bounds.targets, 1, DType::kFp32);
  targets.best = device.poisoned_ints(bounds.targets);
  coefficients = device.put(factors, DType::kFp32);
  pass = std::make_unique<TrainingPass>(runner.decoder(), bounds,
                                        device.scratch(TrainingPass::bytes(runner.decoder(), bounds)));
}

Taught teach(Runner& runner, const std::vector<Lesson>& lessons, bool again, float temperature) {
  kernels::test::Device device(runner.backend());
  Given given(runner, device, lessons, again);
  given.targets.temperature = temperature;
  Wanted wanted(device);
  const Sources& sources = runner.sources();
  Gradients gradients;
  gradients.embedding = wanted.of(sources.embedding);
  gradients.positions = wanted.of(sources.positions);
  gradients.norm = wanted.row(sources.norm.weight);
  gradients.norm_bias = wanted.row(sources.norm.bias);
  gradients.head = runner.architecture().tied ? gradients.embedding : wanted.of(sources.head);
  gradients.head_bias = wanted.row(sources.head_bias);
  for (const LayerSources& from : sources.layers) {
    LayerGradients layer;
    for (const Place place : kAllPlaces) {
      layer.weights[place] = wanted.of(*weights_of(from)[place]);
      layer.biases[place] = wanted.row(*biases_of(from)[place]);
    }
    for (std::size_t i = 0; i < kNorms; ++i) {
      layer.norms.all[i] = wanted.row(norms_of(from).all[i]->weight);
      layer.norm_biases.all[i] = wanted.row(norms_of(from).all[i]->bias);
    }
    layer.key_up = wanted.of(from.latent.key_up);
    layer.value_up = wanted.of(from.latent.value_up);
    layer.experts_up = wanted.of(from.experts_up);
    layer.experts_down = wanted.of(from.experts_down);
    gradients.layers.push_back(std::move(layer));
  }
  given.pass->forth(device.stream(), given.step, given.targets);
  given.pass->back(device.stream(), given.coefficients, gradients);

  Taught taught;
  const std::vector<double> logprobs = device.get(given.targets.logprobs).values;
  auto next = logprobs.begin();
  for (const Lesson& lesson : lessons) {
    taught.logprobs.emplace_back();
    for (std::size_t t = 1; t < lesson.ids.size(); ++t) {
      taught.loss -= static_cast<double>(lesson.coefficients[t]) * *next;
      taught.logprobs.back().push_back(static_cast<float>(*next++));
    }
  }
  taught.gradients = wanted.tensors();
  return taught;
}

}  // namespace orch::model
