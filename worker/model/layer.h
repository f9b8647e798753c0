// What a layer of the decoder consists of, by place, in a backend's memory.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "model/sources.h"

namespace orch::model {

/// The linear layers of a layer. Some families have only some of them.
enum class Place : std::uint8_t {
  kQkv,
  kOut,
  kQueryDown,  ///< latent attention: queries are made small, then large again
  kQueryUp,
  kKeyValueDown,
  kKeyValueUp,  ///< the weights of each head are the layer's key_up and value_up: only adapters are at this place
  kUp,
  kDown,
  kSharedUp,  ///< of the experts that every token has
  kSharedDown,
  kExpertsUp,  ///< stacks: the layer's experts_up and experts_down. Only adapters are at these places
  kExpertsDown,
  kRouter,
};
inline constexpr std::size_t kPlaces = 13;
inline constexpr std::array<Place, kPlaces> kAllPlaces = {
    Place::kQkv,        Place::kOut,         Place::kQueryDown, Place::kQueryUp,  Place::kKeyValueDown,
    Place::kKeyValueUp, Place::kUp,          Place::kDown,      Place::kSharedUp, Place::kSharedDown,
    Place::kExpertsUp,  Place::kExpertsDown, Place::kRouter};

enum class NormPlace : std::uint8_t {
  kAttention,
  kFeedForward,
  kAttentionPost,
  kFeedForwardPost,
  kQuery,
  kKey,
  kLatentQuery,
  kLatentKeyValue,
};
inline constexpr std::size_t kNorms = 8;

/// Something for each place.
template <class T>
struct ByPlace {
  std::array<T, kPlaces> all;
  T& operator[](Place place) { return all[static_cast<std::size_t>(place)]; }
  const T& operator[](Place place) const { return all[static_cast<std::size_t>(place)]; }
};
template <class T>
struct ByNorm {
  std::array<T, kNorms> all;
  T& operator[](NormPlace place) { return all[static_cast<std::size_t>(place)]; }
  const T& operator[](NormPlace place) const { return all[static_cast<std::size_t>(place)]; }
};

/// What a checkpoint has for a place; empty where there is nothing.
ByPlace<const Source*> weights_of(const LayerSources& sources);
ByPlace<const Source*> biases_of(const LayerSources& sources);
ByNorm<const NormSource*> norms_of(const LayerSources& sources);

using WeightPtr = std::unique_ptr<kernels::Weight>;

struct Projection {
  WeightPtr weight;
  kernels::Matrix bias;
};

struct LayerWeights {
  ByPlace<Projection> at;
  ByNorm<kernels::Norm> norms;
  WeightPtr key_up, value_up;  ///< of latent attention, a matrix a head
  WeightPtr experts_up, experts_down;
  kernels::Matrix choice_bias;
  std::int64_t window = 0;
  kernels::Ints counts;  ///< of its experts

  const kernels::Weight* weight(Place place) const { return at[place].weight.get(); }
  const kernels::Norm* norm(NormPlace place) const { return &norms[place]; }
};

}  // namespace orch::model
