// A decoder in a backend's memory, and its forward pass.
//
// Holds: the same tokens give the same numbers whatever else is in the step (see kernels/ops.h). Weights are changed by
// nobody but who trains them (trainable()).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "kernels/backend.h"
#include "model/adapter.h"
#include "model/formats.h"
#include "model/room.h"
#include "model/sources.h"
#include "model/trainable.h"

namespace orch::model {

/// How large a step may be: what memory is laid out for.
struct StepBounds {
  std::int64_t tokens = 0;       ///< of all sequences together
  std::int64_t max_length = 0;   ///< of one sequence, its cache included
  std::int64_t scored = 0;       ///< rows
  std::int64_t targets = 0;      ///< of all of them
  std::int64_t rank = 0;         ///< largest of an adapter's; 0: without adapters
  std::int64_t expert_rank = 0;  ///< largest of those at experts
};

/// What a step computes, all of it in the backend's memory.
struct Step {
  kernels::Ints tokens, positions;
  kernels::Ints slots;    ///< where each token's key and value go
  kernels::Matrix bases;  ///< see kernels::Rotary
  bool lengthy = false;   ///< its sequences are longer than the model was trained on (Rope::long_frequencies)
  kernels::Sequences sequences;
  const Adapter* adapter = nullptr;  ///< or null; of a rank within the bounds
  Drops drops;
};

/// Rows of hidden states against any number of targets each, all of it in the backend's memory.
struct Scoring {
  kernels::Matrix hidden;  ///< becomes normed
  kernels::Ints starts;    ///< rows + 1: of each row's targets
  kernels::Ints targets;
  kernels::Matrix logprobs;           ///< one column, fp32: of each target
  kernels::Ints best;                 ///< of each row the likeliest token
  kernels::Matrix log_sums;           ///< one column, fp32: of each row (kernels::CombineScores); or none
  float temperature = 1;              ///< that logits are divided by
  kernels::Matrix bias = {};          ///< the head's, divided by the temperature, where that is not 1
  kernels::ScoredOthers others = {};  ///< or none
};

class Decoder {
 public:
  /// `tensor`: holds the ranks together that share the layers; null when the shard is of one. It must outlive this.
  static Result<std::unique_ptr<Decoder>> load(kernels::Backend& backend, const Architecture& architecture,
                                               const Sources& sources, Shard shard, Formats formats,
                                               comm::Communicator* tensor = nullptr);

  ~Decoder();

  const Architecture& architecture() const { return it_; }
  const Shard& shard() const { return shard_; }
  /// In which it computes.
  DType dtype() const { return formats_.compute; }
  const Formats& formats() const { return formats_; }
  /// Layers of this stage: each has a part of the KV cache.
  std::int64_t layers() const { return layers_of(it_, shard_).count; }
  /// Holds the ranks together that share the layers; or null.
  comm::Communicator* tensor() const { return tensor_; }
  /// What went wrong between them; asked when the stream has been waited for.
  Result<bool> joined() const { return tensor_ ? tensor_->state() : Result<bool>(true); }
  kernels::KvShape kv_shape(DType dtype) const;
  /// Bytes of workspace of a step within `bounds`.
  std::size_t workspace(const StepBounds& bounds) const;

  /// How often each expert of each layer of the stage was chosen since the load (or since whoever reads this has
  /// cleared it): layers × experts counters in the backend's memory, 0 for layers without experts. None where the model
  /// has no experts.
  kernels::Ints expert_counts() const { return expert_counts_; }

  /// What this rank has to train: to be changed on a stream between steps. `sources`: those that it was loaded from. A
  /// tied head is the embedding; whoever wants its gradient has both in one place.
  std::vector<Trainable> trainable(const Sources& sources, Gradients& gradients);

  /// hidden ← what comes out of the stage's last layer, not yet normed. The first stage begins with the step's tokens,
  /// others with what hidden holds. `caches`: one for each layer of the stage.
  void forward(kernels::Stream& stream, const Step& step, std::span<const kernels::KvCache> caches,
               std::span<std::byte> workspace, kernels::Matrix hidden);
  // Of the last stage. All ranks that share it get the same.
  void score(kernels::Stream& stream, const Scoring& scoring, std::span<std::byte> workspace);
  /// logits ← of rows of hidden states (which become normed), fp32, of the whole vocabulary.
  void logits(kernels::Stream& stream, kernels::Matrix hidden, kernels::Matrix logits);

 private:
  friend class TrainingPass;
  struct ScoreRoom;
  /// What the parts of one step are told.
  struct Pass {
    kernels::Stream& stream;
    const Step& step;
    bool again = false;  ///< a layer is computed a second time: what its way back does not read is left out
  };
  /// The residual stream between two layers.
  struct Flow {
    kernels::Matrix residual;
    kernels::Matrix delta;  ///< what the layer before has left to add
    const kernels::Norm* delta_norm = nullptr;
  };

  Decoder(kernels::Backend& backend, Architecture architecture, Shard shard, Formats formats,
          comm::Communicator* tensor);
  Room lay_out(Layout& layout, const StepBounds& bounds) const;
  /// `others`: those of a Scoring are asked for.
  std::size_t score_workspace(std::int64_t rows, std::int64_t targets, bool others = false) const;
  ScoreRoom lay_out_scores(Layout& layout, std::int64_t rows, std::int64_t targets, bool others) const;
  const kernels::Weight* head() const { return head_ ? head_.get() : embedding_.get(); }
  std::int64_t largest_inner() const;
  /// What an adapter has between its A and B, it has as often: of latent attention for each head.
  std::int64_t low_heads() const { return it_.attention.latent ? heads_ : 1; }
  /// matrix ← the sum over the ranks that share the layers.
  void sum(kernels::Stream& stream, kernels::Matrix matrix) const;
  kernels::Score score_of(const Scoring& scoring) const;
  kernels::Route route_of(const LayerWeights& layer, const Room& room) const;
  kernels::Experts experts_of(const LayerWeights& layer, const Room& room, kernels::Matrix in) const;
  void score_normed(kernels::Stream& stream, const Scoring& scoring, std::span<std::byte> workspace) const;

  void embed(const Pass& pass, kernels::Matrix hidden) const;
  /// flow.residual ← with what was left to be added, in `sum` if that is given; out ← its norm.
  void add_norm(const Pass& pass, Flow& flow, kernels::Matrix sum, const kernels::Norm* norm, kernels::Matrix out,
                const Room& room) const;
  void run_layer(const Pass& pass, std::size_t number, const kernels::KvCache& cache, Flow& flow,
                 const Room& room) const;
  const std::vector<LowRank>* parts_of(const Pass& pass, std::size_t number, Place place) const;
  /// y ← what a linear layer and its adapters make of x, bare.
  void project(const Pass& pass, std::size_t number, Place place, const Room& room, kernels::Matrix x,
               kernels::Matrix y) const;
  /// x as an adapter sees it.
  kernels::Matrix dropped(const Pass& pass, std::size_t number, Place place, std::size_t part, const Room& room,
                          kernels::Matrix x) const;
  kernels::Dropout dropout_of(const Pass& pass, std::size_t number, Place place, std::size_t part, kernels::Matrix x,
                              kernels::Matrix y) const;
  /// Attention itself, of queries that stand in the room to keys and values that stand in the cache.
  kernels::Attention attention_of(const Pass& pass, const LayerWeights& layer, const kernels::KvCache& cache,
                                  const Room& room) const;
  kernels::Rotation rotation_of(const Step& step) const;
  void attend(const Pass& pass, std::size_t number, const kernels::KvCache& cache, const Room& room,
              kernels::Matrix out) const;
  void attend_latent(const Pass& pass, std::size_t number, const kernels::KvCache& cache, const Room& room,
                     kernels::Matrix out) const;
  /// Queries of the cache's components, from those of each head's own keys.
  void absorb(const Pass& pass, std::size_t number, const Room& room, kernels::Matrix queries) const;
  /// Each head's own values, from the cache's components.
  kernels::Matrix latent_values(const Pass& pass, std::size_t number, const Room& room) const;
  /// What an adapter of latent attention has between its A and B: a row a token.
  kernels::Matrix low_of_heads(const Room& room, const LowRank& part) const {
    return kernels::tight(room.low, heads_ * part.rank());
  }
  /// Nothing reads what a feed-forward gives.
  bool is_over(const Pass& pass) const { return pass.again && !it_.post_norms; }
  void feed_forward(const Pass& pass, std::size_t number, const Room& room, kernels::Matrix in,
                    kernels::Matrix out) const;
  // Experts that have adapters: a product at a time, of every choice.
  bool has_expert_adapters(const Pass& pass, std::size_t number) const {
    return parts_of(pass, number, Place::kExpertsUp) || parts_of(pass, number, Place::kExpertsDown);
  }
  kernels::RoutedLinear routed(const Room& room, kernels::Matrix x, const kernels::Weight* weight, std::int64_t first,
                               kernels::Matrix y) const;
  /// y ← y + what the adapters of a place make of x.
  void add_routed(const Pass& pass, std::size_t number, Place place, const Room& room, kernels::Matrix x,
                  kernels::Matrix y) const;
  /// What stands between the experts' two products, before and behind its activation.
  void routed_inner(const Pass& pass, std::size_t number, const Room& room, kernels::Matrix in) const;
  void routed_experts(const Pass& pass, std::size_t number, const Room& room, kernels::Matrix in,
                      kernels::Matrix out) const;
  void lay_out_routed(Layout& layout, Room& room, std::int64_t tokens, std::int64_t rank) const;
  /// Of all ops on experts one by one.
  std::size_t routed_scratch(std::int64_t tokens, std::int64_t rank, bool back) const;
  void two(const Pass& pass, std::size_t number, Place up, Place down, kernels::Matrix bare, const Room& room,
           kernels::Matrix in, kernels::Matrix out) const;

  class Loading;
  kernels::Backend& backend_;
  const Architecture it_;
  const Shard shard_;
  const Formats formats_;
  comm::Communicator* const tensor_;
  std::int64_t heads_ = 0, kv_heads_ = 0;                          ///< of this rank
  std::unique_ptr<kernels::Weight> embedding_, positions_, head_;  ///< head_ null: the embedding
  kernels::Matrix head_bias_;
  kernels::Norm norm_;
  kernels::Rotation rotation_, long_rotation_;
  kernels::Matrix slopes_;
  kernels::Ints expert_counts_;
  std::vector<LayerWeights> layers_;
  std::vector<std::unique_ptr<kernels::Buffer>> vectors_;
};

}  // namespace orch::model
