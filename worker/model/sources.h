// Which tensors of a checkpoint make which weights of the decoder, for one rank of those that share it.
#pragma once

#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/source.h"

namespace orch::model {

/// One of `ranks` that share every layer: its heads, its part of the feed-forward, of the experts and of the
/// vocabulary.
struct Shard {
  int rank = 0;
  int ranks = 1;
};

/// A rank's part of n things that are cut evenly, or as evenly as goes.
struct Part {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
/// Heads of the cache: where there are fewer than ranks, some ranks have the same one.
Part kv_heads_of(const AttentionKind& attention, Shard shard);
Part heads_of(const AttentionKind& attention, Shard shard);
Part part_of(std::int64_t count, Shard shard);
/// Rows of the embedding and the head: whole panels of 64, so that every rank's are cut alike.
Part vocab_of(std::int64_t vocab, Shard shard);

struct NormSource {
  Source weight, bias;  ///< empty: none
};

struct LatentSources {
  Source q_a, q_b;  ///< without q_a, q_b is of the layer's input
  NormSource q_norm;
  Source kv_a;
  NormSource kv_norm;
  std::vector<Source> key_up, value_up;  ///< of each head
};

struct LayerSources {
  NormSource attention_norm, feed_forward_norm, attention_post_norm, feed_forward_post_norm;
  NormSource q_norm, k_norm;
  Source qkv, qkv_bias, out, out_bias;
  LatentSources latent;
  Source up, up_bias, down, down_bias;  ///< of a gated feed-forward up has the gates first
  Source router, choice_bias;
  std::vector<Source> experts_up, experts_down;
  Source shared_up, shared_down;
};

struct Sources {
  Source embedding, positions;
  std::vector<LayerSources> layers;
  NormSource norm;
  Source head, head_bias;  ///< of a tied model the embedding's
};

/// An error names what is missing or has another shape than the configuration says.
Result<Sources> find_sources(const Architecture& architecture, const Checkpoint& checkpoint, Shard shard);

}  // namespace orch::model
