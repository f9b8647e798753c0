// What the worker's engines compute with: every op that a backend has, and what it is given.
//
// Holds, for every op of every backend:
//  - It is enqueued on a Stream, and only there: nothing allocates, nothing waits, nothing is told to the host. What an
//    op needs beside its operands it asks for by size (scratch()), and its caller gives it.
//  - What an op is told, Norms included, is read when it is enqueued. The memory behind its views, its weights and its
//    scratch stay until the stream has come past it, and no other stream writes what it uses.
//  - What scratch holds before an op and after it means nothing.
//  - A row's numbers depend on that row (of attention: on its own sequence) alone: neither on how many rows there are,
//    nor on their order, nor on how a sequence's pages are cut. Sums have one order, that of their index.
//  - Outputs are written whole, whatever stood there. An op of no rows does nothing.
// Sums are taken in fp32, whatever the operands are.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/tensor.h"

namespace orch::kernels {

/// A matrix of weights (or several of one shape), laid out as its backend likes: made by Backend::pack().
class Weight {
 public:
  virtual ~Weight() = default;
  std::int64_t rows = 0;   ///< outputs of one
  std::int64_t cols = 0;   ///< inputs
  std::int64_t count = 1;  ///< of a stack: experts, or heads
  DType dtype = DType::kFp32;
  std::size_t bytes = 0;  ///< of the backend's memory
};

enum class Activation : std::uint8_t {
  kNone,
  kSilu,
  kGelu,      ///< with the error function
  kGeluTanh,  ///< its approximation with tanh
  kRelu,
};

/// x ← scale · row `token` of the table, plus row `position` of `positions`. Tokens outside [first, first + rows of the
/// table) give zeros: the table of a rank is its part of the vocabulary.
struct Embed {
  Ints tokens;
  const Weight* table = nullptr;
  std::int64_t first = 0;
  float scale = 1;
  const Weight* position_table = nullptr;  ///< or null
  Ints positions;                          ///< with a position_table
  Matrix x;
};

struct Norm {
  bool layer = false;  ///< LayerNorm rather than RMSNorm
  float eps = 0;
  Matrix weight;          ///< one row, fp32; none: of ones
  Matrix bias;            ///< one row, fp32, or none
  bool plus_one = false;  ///< multiplies by 1 + weight
};

/// sum ← residual + delta (normed by `delta_norm`, where there is one; delta's own numbers are lost then), then
/// out ← norm(sum). Without `delta` only the norm, without `out` only the sum.
struct AddNorm {
  Matrix residual;
  Matrix delta;
  float delta_scale = 1;
  const Norm* delta_norm = nullptr;
  Matrix sum;  ///< with a delta; none: the residual itself
  const Norm* norm = nullptr;
  Matrix out;
};

/// y ← act(x · weightᵀ + bias); gated: the weight was packed so (WeightShape::gated), and y ← act(gate) · value has
/// half as many columns; of such a weight without `gated` y has all gates, then all values. y may be fp32 whatever x
/// is.
struct Linear {
  Matrix x;
  const Weight* weight = nullptr;
  Matrix bias;  ///< one row, fp32, in the order of the weight's rows; or none
  Activation activation = Activation::kNone;
  bool gated = false;
  float scale = 1;     ///< of the product, before bias
  float soft_cap = 0;  ///< y ← cap · tanh(y / cap), last; 0: none
  bool add = false;    ///< to what y holds: of a bare product, without bias and all that
  Matrix y;
};

/// For each head h of a token: y_h ← x_h · weight_hᵀ, of heads that begin each x_stride and y_stride elements.
struct HeadLinear {
  Matrix x;
  std::int64_t x_stride = 0;
  const Weight* weight = nullptr;  ///< a stack of one for each head
  bool add = false;                ///< to what y holds
  Matrix y;
  std::int64_t y_stride = 0;
};

/// How positions are told to queries and keys.
struct Rotation {
  int dims = 0;              ///< components that are turned, from the first on; 0: none
  bool interleaved = false;  ///< pairs are neighbours rather than halves
  Matrix frequencies;        ///< one row of dims / 2, fp32: radians a position
  float scale = 1;           ///< of cosine and sine
};

/// From the fused projection to what attention needs: norms of heads, rotation, the write to the KV cache.
/// `qkv` has query heads, then key heads, then value heads.
struct Rotary {
  Matrix qkv;
  float clip = 0;  ///< what is projected is first held within ± this; 0: not
  int heads = 0;
  const Norm* q_norm = nullptr;  ///< over each head
  const Norm* k_norm = nullptr;
  Rotation rotation;
  Matrix bases;  ///< one row, fp32, a token's own factor of the frequencies' base; or none (dynamic scaling)
  Ints positions;
  Ints slots;  ///< page × 16 + place in it; negative: the token is not kept
  KvCache cache;
  Matrix q;  ///< heads × key_dim
};

/// The same for latent attention. A head's query is its latent part (HeadLinear wrote it into `q`), then the part that
/// is turned, which stands in q_turned behind q_from components of each head of q_stride. A token's key is its latent
/// vector, normed, then what is turned; its value is the latent vector. `kv` has both.
struct LatentRotary {
  Matrix q_turned;
  int heads = 0;
  std::int64_t q_from = 0;
  std::int64_t q_stride = 0;
  Matrix kv;
  const Norm* kv_norm = nullptr;
  Rotation rotation;
  Ints positions;
  Ints slots;
  KvCache cache;
  Matrix q;
};

/// Each query sees its own sequence up to itself.
struct Attention {
  Matrix q;
  int heads = 0;
  KvCache cache;
  Sequences sequences;
  float scale = 1;
  float soft_cap = 0;       ///< 0: none
  std::int64_t window = 0;  ///< tokens that are seen, the own one included; 0: all
  Matrix slopes;            ///< one row of heads, fp32: ALiBi; or none
  Matrix out;               ///< heads × value_dim
  Matrix log_sums;          ///< a column a head, fp32: the logarithm of what its weights were divided by; or none
};

/// Which experts a token goes to.
struct Route {
  enum class Kind : std::uint8_t {
    kSoftmax,  ///< weights are probabilities over all experts
    kSigmoid,  ///< each expert's own
  };
  Matrix logits;  ///< fp32
  Kind kind = Kind::kSoftmax;
  int active = 1;
  bool renormalise = false;  ///< the chosen weights sum to 1
  float scale = 1;           ///< of the weights, last
  Matrix choice_bias;        ///< one row, fp32, added for the choice but not to the weights; or none
  int groups = 1;            ///< experts are chosen from the best `active_groups` of these
  int active_groups = 1;
  int group_best = 1;  ///< a group is as good as the sum of so many of its best experts
  Ints experts;        ///< tokens × active, the best first
  Matrix weights;      ///< tokens × active, fp32
  Ints counts;         ///< a counter for each expert, counted up
};

/// y ← the sum over a token's experts, in their order, of weight · down(act(gate(x)) · up(x)). Experts outside
/// [first, first + count of the stack) are another rank's.
struct Experts {
  Matrix x;
  Ints experts;
  Matrix weights;
  int active = 1;
  std::int64_t first = 0;
  const Weight* up = nullptr;  ///< a stack; gated like Linear's
  const Weight* down = nullptr;
  Matrix up_bias, down_bias;  ///< a row an expert of the stack, fp32; or none
  Activation activation = Activation::kSilu;
  bool gated = true;
  Matrix y;
};

/// A product with another matrix for each choice, which is one of a token's experts: number token × active + place.
/// What Experts is made of, for those that have adapters: these come between. y's row of choice c ← scale · x ·
/// weight_eᵀ, of the expert e that it names; x has a row for each choice, or for each token. The rows of experts
/// outside [first, first + count of the stack) become 0, or stay, where it adds.
struct RoutedLinear {
  Matrix x;
  Ints experts;  ///< tokens × active
  int active = 1;
  std::int64_t first = 0;
  const Weight* weight = nullptr;  ///< a stack; of a gated one y has all gates, then all values
  float scale = 1;
  bool add = false;
  Matrix y;  ///< may be fp32 whatever x is
};

/// y ← the sum over a token's choices, in their order, of weight · x's row.
struct Mix {
  Matrix x;        ///< a row a choice
  int active = 1;  ///< choices of a token
  Matrix weights;  ///< tokens × active, fp32; none: of ones
  Matrix y;
};

/// y's row i ← x's row rows[i].
struct Gather {
  Matrix x;
  Ints rows;
  Matrix y;
};

/// What is known of one row's logits without keeping them. A rank has the part of the vocabulary that begins at
/// `first`.
enum ScoreColumn : int { kMax, kSumExp, kBest, kScoreColumns };

/// What a way back wants of a row's logits that depends on no coefficient, so that none is computed twice: the sum of
/// the head's rows of all tokens but the row's targets, each times exp(logit − base) and what the soft cap lets back.
/// Of each rank's own part.
struct ScoredOthers {
  Matrix sums;   ///< fp32
  Matrix bases;  ///< one column, fp32

  explicit operator bool() const { return static_cast<bool>(sums); }
};

/// stats ← of each row: the largest logit, the sum of exp(logit − largest) and the token of the largest logit (the
/// first of equals), a number that fp32 holds exactly. found ← each target's logit, 0 where another rank has it. A row
/// has any number of targets: those answers to one question that are one token long share its one row.
struct Score {
  Matrix x;
  const Weight* head = nullptr;
  Matrix bias;
  std::int64_t first = 0;
  std::int64_t vocab = 0;  ///< rows behind it are padding
  float scale = 1;
  float soft_cap = 0;
  Ints starts;          ///< rows + 1: row r has the targets starts[r] … starts[r + 1] - 1
  Ints targets;         ///< tokens
  Matrix stats;         ///< kScoreColumns columns, fp32
  Matrix found;         ///< one column, fp32: a row for each target
  ScoredOthers others;  ///< or none
};

/// The ranks' parts (of stats and of found a block a rank) put together in rank order.
struct CombineScores {
  Matrix stats;
  Matrix found;
  int ranks = 1;
  Ints starts;
  Matrix logprobs;  ///< one column, fp32: of each target
  Ints best;        ///< of each row, the arg-max
  Matrix log_sums;  ///< one column, fp32: of each row the logarithm of the sum of exp(logit); or none
};

/// One token a row, from logits of the whole vocabulary. A draw depends on its row's numbers and uniform alone.
struct Sample {
  Matrix logits;       ///< fp32
  Matrix temperature;  ///< one column each, fp32; 0: the arg-max
  Matrix top_p;
  Ints top_k;       ///< 0: all
  Matrix uniforms;  ///< in [0, 1)
  Ints tokens;
};

}  // namespace orch::kernels
