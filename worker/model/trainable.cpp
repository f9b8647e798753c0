#include "model/trainable.h"

#include "model/decoder.h"

namespace orch::model {

using kernels::Matrix;

namespace {

Held held_of(Place place) {
  switch (place) {
    // Each rank sees what its own heads or experts say of it.
    case Place::kQueryDown:
    case Place::kKeyValueDown:
    case Place::kRouter:
      return Held::kSummed;
    default:
      return Held::kPart;
  }
}

Held held_of(NormPlace place) {
  switch (place) {
    case NormPlace::kQuery:
    case NormPlace::kKey:
    case NormPlace::kLatentQuery:
    case NormPlace::kLatentKeyValue:
      return Held::kSummed;
    default:
      // What comes back to the residual stream is summed before it reaches these.
      return Held::kAlike;
  }
}

}  // namespace

std::vector<Trainable> Decoder::trainable(const Sources& sources, Gradients& gradients) {
  std::vector<Trainable> all;
  const auto add_stack = [&](const std::vector<Source>& stack, const WeightPtr& weight, Matrix& gradient, Held held) {
    if (weight && weight->rows > 0) all.push_back({stack, weight.get(), {}, &gradient, held});
  };
  const auto add = [&](const Source& source, const WeightPtr& weight, Matrix& gradient, Held held) {
    add_stack({source}, weight, gradient, held);
  };
  const auto add_vector = [&](const Source& source, const Matrix& vector, Matrix& gradient, Held held) {
    if (vector) all.push_back({{source}, nullptr, vector, &gradient, held});
  };
  gradients.layers.resize(layers_.size());
  add(sources.embedding, embedding_, gradients.embedding, Held::kPart);
  add(sources.positions, positions_, gradients.positions, Held::kAlike);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const LayerSources& from = sources.layers[i];
    const LayerWeights& layer = layers_[i];
    LayerGradients& to = gradients.layers[i];
    for (const Place place : kAllPlaces) {
      add(*weights_of(from)[place], layer.at[place].weight, to.weights[place], held_of(place));
      // One rank alone has those that are added to a sum.
      add_vector(*biases_of(from)[place], layer.at[place].bias, to.biases[place], Held::kPart);
    }
    for (std::size_t n = 0; n < kNorms; ++n) {
      const Held held = held_of(static_cast<NormPlace>(n));
      add_vector(norms_of(from).all[n]->weight, layer.norms.all[n].weight, to.norms.all[n], held);
      add_vector(norms_of(from).all[n]->bias, layer.norms.all[n].bias, to.norm_biases.all[n], held);
    }
    add_stack(from.latent.key_up, layer.key_up, to.key_up, Held::kPart);
    add_stack(from.latent.value_up, layer.value_up, to.value_up, Held::kPart);
    add_stack(from.experts_up, layer.experts_up, to.experts_up, Held::kPart);
    add_stack(from.experts_down, layer.experts_down, to.experts_down, Held::kPart);
  }
  add_vector(sources.norm.weight, norm_.weight, gradients.norm, Held::kAlike);
  add_vector(sources.norm.bias, norm_.bias, gradients.norm_bias, Held::kAlike);
  add(sources.head, head_, gradients.head, Held::kPart);
  add_vector(sources.head_bias, head_bias_, gradients.head_bias, Held::kPart);
  return all;
}

}  // namespace orch::model
