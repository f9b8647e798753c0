#include "model/layer.h"

namespace orch::model {
namespace {

const Source kNone;

}  // namespace

ByPlace<const Source*> weights_of(const LayerSources& from) {
  return {{&from.qkv, &from.out, &from.latent.q_a, &from.latent.q_b, &from.latent.kv_a, &kNone, &from.up, &from.down,
           &from.shared_up, &from.shared_down, &kNone, &kNone, &from.router}};
}

ByPlace<const Source*> biases_of(const LayerSources& from) {
  return {{&from.qkv_bias, &from.out_bias, &kNone, &kNone, &kNone, &kNone, &from.up_bias, &from.down_bias, &kNone,
           &kNone, &kNone, &kNone, &kNone}};
}

ByNorm<const NormSource*> norms_of(const LayerSources& from) {
  return {{&from.attention_norm, &from.feed_forward_norm, &from.attention_post_norm, &from.feed_forward_post_norm,
           &from.q_norm, &from.k_norm, &from.latent.q_norm, &from.latent.kv_norm}};
}

}  // namespace orch::model
