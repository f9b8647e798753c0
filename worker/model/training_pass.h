// One pass of training through a decoder: forth, which keeps what the way back needs, and back, which adds the
// gradients of what is trained.
//
// Holds:
//  - Forth computes what Decoder::forward computes, by the same code: with one number format the log-probabilities of a
//    text are those of inference, bit for bit.
//  - With `again` a layer keeps its input alone, and is computed a second time before it goes back: the same bits, less
//    memory, about a third more work.
//  - What is not asked for in the Gradients is not computed; weights never change.
#pragma once

#include <span>
#include <vector>

#include "model/decoder.h"

namespace orch::model {

/// How large a pass may be: what memory is laid out for.
struct TrainingBounds {
  std::int64_t tokens = 0;  ///< of all sequences together
  std::int64_t sequences = 0;
  std::int64_t max_length = 0;   ///< of one sequence
  std::int64_t targets = 0;      ///< tokens whose log-probability is asked
  std::int64_t rank = 0;         ///< largest of an adapter's; 0: without adapters
  bool drops = false;            ///< an adapter's inputs are dropped
  bool again = false;            ///< layers are computed again on the way back
  std::int64_t expert_rank = 0;  ///< largest of an adapter's at experts
};

/// What is asked of a pass, all of it in the backend's memory.
struct Targets {
  kernels::Ints rows;    ///< of the step's tokens; none twice
  kernels::Ints starts;  ///< 0, 1, 2, …: each row has one target
  kernels::Ints tokens;
  kernels::Matrix logprobs;  ///< one column, fp32
  kernels::Ints best;        ///< of each row the likeliest token
  float temperature = 1;     ///< above 0: logits are divided by it, and the way back goes through that
  /// Of a pass with adapters: a way back follows, which leaves the head as it is. It costs less then.
  bool leave_head = false;
};

class TrainingPass {
 public:
  static std::size_t bytes(const Decoder& decoder, const TrainingBounds& bounds);
  /// Pages that the tokens of `bounds` have at most: each sequence begins a page of its own.
  static std::int64_t pages(const TrainingBounds& bounds);

  /// `memory`: as many bytes. The decoder is of one stage.
  TrainingPass(const Decoder& decoder, const TrainingBounds& bounds, std::span<std::byte> memory);

  /// The step's sequences are whole. What it and the targets point to stays until the way back is over.
  void forth(kernels::Stream& stream, const Step& step, const Targets& targets);
  /// Of the last pass forth. `coefficients`: one column, fp32: of each target, d loss / d log-probability.
  void back(kernels::Stream& stream, kernels::Matrix coefficients, const Gradients& gradients);

 private:
  using Pass = Decoder::Pass;

  Scoring scoring() const;
  void lay_out(Layout& layout);
  Room own_room(Layout& layout) const;
  /// Of a layer of the pass at hand.
  Room room_of(std::size_t number) const;
  const LayerWeights& layer(std::size_t number) const { return decoder_.layers_[number]; }

  void layer_back(const Pass& pass, std::size_t number, const LayerGradients& gradients);
  /// dx ← through a linear layer and its adapters; their gradients.
  void project_back(const Pass& pass, std::size_t number, Place place, const Room& room,
                    const LayerGradients& gradients, kernels::Matrix x, kernels::Matrix dy, float scale, bool add,
                    kernels::Matrix dx);
  void norm_back(const Pass& pass, std::size_t number, NormPlace place, const LayerGradients& gradients,
                 kernels::Matrix x, kernels::Matrix dy, float scale, bool add, kernels::Matrix dx);
  void attention_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                      kernels::Matrix dy, float scale, kernels::Matrix dx);
  void latent_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                   kernels::Matrix dy, float scale, kernels::Matrix dx);
  // Of an adapter of kv_b_proj, by way of values and by way of keys.
  void values_back(const Pass& pass, const Room& room, const LowRank& part, const LowRankGradient& gradient,
                   kernels::Matrix dvalues);
  /// Before the queries become their gradients. Gives the gradient of what stands between its B and its A: a row a
  /// token.
  kernels::Matrix keys_back(const Pass& pass, const Room& room, const LowRank& part, const LowRankGradient& gradient,
                            kernels::Matrix queries, kernels::Matrix dq);
  void through_attention(const Pass& pass, std::size_t number, const Room& room);
  void feed_forward_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                         kernels::Matrix dy, float scale, bool add, kernels::Matrix dx);
  void two_back(const Pass& pass, std::size_t number, Place up, Place down, kernels::Matrix bare, const Room& room,
                const LayerGradients& gradients, kernels::Matrix dy, float scale, bool add, kernels::Matrix dx);
  /// Of experts with adapters: dx ←, and dweights.
  void routed_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                   kernels::Matrix dy, kernels::Matrix dx, kernels::Matrix dweights);
  kernels::RoutedLinearBack routed_to(const Room& room, kernels::Matrix dy, const kernels::Weight* weight,
                                      std::int64_t first, kernels::Matrix dx) const;
  kernels::RoutedGradient routed_gradient(const Room& room, const LowRank& part, kernels::Matrix dy, kernels::Matrix x,
                                          kernels::Matrix gradient) const;
  void experts_back(const Pass& pass, std::size_t number, const Room& room, const LayerGradients& gradients,
                    kernels::Matrix dy, kernels::Matrix dx);

  const Decoder& decoder_;
  kernels::Backend& backend_;
  const TrainingBounds bounds_;
  std::vector<Room> rooms_;               ///< each layer's own part, for bounds_.tokens
  std::vector<kernels::KvCache> caches_;  ///< likewise; of `again` one
  Room shared_;
  // Of the way back, which layer by layer uses them anew.
  kernels::Matrix hidden_;  ///< comes out of the last layer; then the gradient of the residual
  kernels::Matrix dnormed_, ddelta_, dattended_, dq_, dk_, dv_, dinner_, dlow_, dcompressed_, dweights_, dlogits_,
      dchosen_inner_, dchosen_low_;
  kernels::Matrix picked_, normed_, dpicked_, log_sums_;  ///< rows that have targets
  kernels::Matrix cooled_bias_, dcooled_bias_;  ///< the head's divided by the temperature, and its gradient; or none
  kernels::ScoredOthers others_;                ///< likewise; of a pass with adapters
  std::span<std::byte> scratch_;
  std::size_t bytes_ = 0;

  // Of the pass at hand.
  Step step_;
  Targets targets_;
};

}  // namespace orch::model
