// Which tensors of a checkpoint make which weights of the decoder, for one rank of those that share it.
#pragma once

#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/source.h"

namespace orch::model {

/// A part of n things that follow each other.
struct Part {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// What one process has of a model: of some layers, one after another (a stage of a pipeline), its rank's heads, its
/// part of the feed-forward, of the experts and of the vocabulary.
struct Shard {
  int rank = 0;
  int ranks = 1;  ///< that share every layer of the stage
  int stage = 0;
  int stages = 1;
  Part layers{};  ///< of the stage; with one stage all, whatever this says

  bool begins() const { return stage == 0; }
  bool ends() const { return stage + 1 == stages; }
};

/// An error says why a model cannot be cut so.
Result<bool> check_shard(const Architecture& architecture, Shard shard);
/// The layers of a stage, cut as evenly as goes.
Part stage_layers(const Architecture& architecture, int stage, int stages);
Part layers_of(const Architecture& architecture, Shard shard);
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

/// Experts of which each token has some, whichever of them this rank has: a linear layer each in a checkpoint, and one
/// parameter of all of them in transformers, by whose name PEFT knows them. None where neither has them so.
struct ExpertNames {
  std::string path;            ///< model.layers.0.mlp.experts, of gate_up_proj and down_proj
  std::string single;          ///< in the checkpoint: model.layers.0.block_sparse_moe.experts.
  std::string gate, up, down;  ///< behind that, a number and a dot: w1, w3, w2
  std::int64_t all = 0, hidden = 0, inner = 0;
  Part own{};

  bool empty() const { return all == 0; }
};

struct LayerSources {
  NormSource attention_norm, feed_forward_norm, attention_post_norm, feed_forward_post_norm;
  NormSource q_norm, k_norm;
  Source qkv, qkv_bias, out, out_bias;
  LatentSources latent;
  Source up, up_bias, down, down_bias;  ///< of a gated feed-forward up has the gates first
  Source router, choice_bias;
  std::vector<Source> experts_up, experts_down;
  ExpertNames experts;
  Source shared_up, shared_down;
};

struct Sources {
  Source embedding, positions;
  std::vector<LayerSources> layers;  ///< of the stage
  NormSource norm;
  Source head, head_bias;  ///< of a tied model the embedding's
};

/// An error names what is missing or has another shape than the configuration says.
Result<Sources> find_sources(const Architecture& architecture, const Checkpoint& checkpoint, Shard shard);

/// The same of no checkpoint at all: sources that have their shapes, and zeros.
Sources shapes_of(const Architecture& architecture, Shard shard);

/// All that the model is trained in, as transformers counts it: not the bias of a router's choice.
std::vector<const Source*> parameter_sources(const Architecture& architecture, const Sources& sources);
/// Numbers that the model was trained in: of a whole model's sources.
std::int64_t parameters_of(const Architecture& architecture, const Sources& sources);

}  // namespace orch::model
