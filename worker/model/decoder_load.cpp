#include <cmath>

#include "model/decoder.h"

namespace orch::model {

using kernels::Backend;
using kernels::Matrix;
using kernels::Norm;
using kernels::Stream;

namespace {

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
    const auto count = static_cast<std::int64_t>(host.size());
    return {decoder_.vectors_.back()->data, DType::kFp32, 1, count, count};
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
  DType format(Place place) const { return place == Place::kRouter ? DType::kFp32 : decoder_.formats_.weights; }

  Norm norm(const NormSource& source) {
    const NormKind& kind = decoder_.it_.norm;
    return {kind.layer, kind.eps, vector(source.weight), vector(source.bias), kind.plus_one};
  }

  kernels::Rotation rotation(const std::vector<float>& frequencies, float scale) {
    const Rope& rope = decoder_.it_.rope;
    if (frequencies.empty()) return {};
    return {rope.dims, rope.interleaved, numbers(frequencies), scale};
  }

  LayerWeights layer(const LayerSources& from, const std::string& what) {
    const bool gated = decoder_.it_.feed_forward.gated;
    LayerWeights layer;
    const ByPlace<const Source*> weights = weights_of(from), biases = biases_of(from);
    for (const Place place : kAllPlaces) {
      const bool is_gated = gated && (place == Place::kUp || place == Place::kSharedUp);
      // Of what every rank adds to a sum only one may add it.
      const bool is_added = place == Place::kOut || place == Place::kDown;
      layer.at[place].weight = weight(*weights[place], format(place), what, is_gated);
      if (!is_added || decoder_.shard_.rank == 0) layer.at[place].bias = vector(*biases[place]);
    }
    const ByNorm<const NormSource*> norms = norms_of(from);
    for (std::size_t i = 0; i < kNorms; ++i) layer.norms.all[i] = norm(*norms.all[i]);
    layer.key_up = weight(from.latent.key_up, decoder_.formats_.weights, what, false);
    layer.value_up = weight(from.latent.value_up, decoder_.formats_.weights, what, false);
    layer.choice_bias = vector(from.choice_bias);
    layer.experts_up = weight(from.experts_up, decoder_.formats_.weights, what + "'s experts", gated);
    layer.experts_down = weight(from.experts_down, decoder_.formats_.weights, what + "'s experts", false);
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

}  // namespace orch::model
