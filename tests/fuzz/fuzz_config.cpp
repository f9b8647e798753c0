#include <cmath>

#include "model/architecture.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {

void config_target(std::string_view bytes) {
  const auto it = model::read_architecture(bytes, "config.json");
  if (!it) {
    promise(!it.error().what.empty(), "a refusal says why");
    return;
  }
  // What the decoder trusts.
  promise(it->hidden > 0 && it->vocab > 0 && it->context > 0 && !it->layers.empty(), "sizes are above 0");
  const model::AttentionKind& attention = it->attention;
  promise(attention.heads > 0 && attention.kv_heads > 0 && attention.heads % attention.kv_heads == 0,
          "heads share those of the cache evenly");
  promise(attention.head_dim > 0 && attention.head_dim <= 1024, "heads are bounded");
  promise(it->rope.dims <= attention.head_dim && it->rope.dims % 2 == 0, "what is turned is a part of a head");
  for (const auto* list : {&it->rope.frequencies, &it->rope.long_frequencies}) {
    promise(list->empty() || static_cast<int>(list->size()) == it->rope.dims / 2, "every pair has a frequency");
    for (const float frequency : *list) promise(std::isfinite(frequency), "frequencies are numbers");
  }
  if (it->rope.dynamic > 0) promise(it->rope.trained > 0 && it->rope.dims > 2, "a base can grow");
  for (const model::Layer& layer : it->layers) {
    promise(layer.window >= 0, "a window is no less than none");
    promise(!layer.experts || it->experts.has_value(), "layers with experts have a kind");
  }
  if (const auto& experts = it->experts) {
    promise(experts->active > 0 && experts->active <= experts->count, "a token has experts");
    promise(experts->groups > 0 && experts->count % experts->groups == 0, "groups are even");
    promise(experts->active_groups > 0 && experts->active_groups <= experts->groups, "groups are chosen of them");
    promise(experts->inner > 0, "experts have a size");
  }
}

}  // namespace orch::fuzz
