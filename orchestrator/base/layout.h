// How a model can be cut over GPUs: tensor × pipeline × data parallel.
//
// Holds:
//  - A layout that why_illegal() accepts divides heads, feed-forward and experts evenly; KV heads are divided, or
//  replicated
//    when there are fewer than ranks; tensor parallelism never leaves a node.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/model.h"

namespace orch {

struct Layout {
  int tp = 1;  ///< GPUs that share each layer
  int pp = 1;  ///< stages that the layers are split over
  int dp = 1;  ///< copies; 0: a job without a GPU
  int gpus() const { return tp * pp * dp; }
  auto operator<=>(const Layout&) const = default;
};

std::string to_string(const Layout& layout);  ///< `tp 2 × pp 3`, `1 GPU`, `tp 4 × dp 2`, `no GPU`

/// Why the model cannot be cut so, or nothing. `gpus_per_node` bounds tp.
std::optional<std::string> why_illegal(const Model& model, const Layout& layout, int gpus_per_node);

struct Layouts {
  std::vector<Layout> legal;                            ///< by tp descending, then pp
  std::vector<std::pair<Layout, std::string>> refused;  ///< with their reasons
};

/// Every tp × pp × dp = gpus.
Layouts layouts_for(const Model& model, int gpus, int gpus_per_node);

/// KV heads that each tensor-parallel rank keeps; more than kv_heads / tp when they are replicated.
int kv_heads_per_rank(const Decoder& decoder, int tp);

/// Whether the vision tower is split over the tp ranks; if not, each rank has all of it.
bool vision_splits(const Vision& vision, int tp);

/// Layers of each pipeline stage, first to last, so that the costliest stage (its layers, the embedding in the first,
/// the head in the last) is as cheap as possible. Each stage has a layer at least.
std::vector<int> split_layers(const Decoder& decoder, int pp);

}  // namespace orch
