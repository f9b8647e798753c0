// What training computes with beside ops.h: the way back through every op of the decoder, and the optimiser's step.
//
// dy stands for the gradient of the loss by y. What holds for ops.h holds here too, and:
//  - A way back is told what its op was told and what that left; what else it needs it computes again. There is no
//  tape.
//  - Gradients of what is computed (dx) are written whole, or, where `add` is set, added to what stands there.
//    Gradients of parameters are fp32 and always added to. Where one is not asked for nothing is computed for it:
//    weights that stay as they are cost nothing.
//  - Sums over rows are taken in the rows' order, so a gradient of a parameter depends on the order of the rows, and on
//    which rows come in one op, by rounding; it does not depend on threads.
#pragma once

#include "kernels/ops.h"

namespace orch::kernels {

/// y ← act(x), of a projection that was left bare. Gated: x has gates, then values, and y ← act(gate) · value.
struct Activate {
  Matrix x;
  Activation activation = Activation::kNone;
  bool gated = false;
  Matrix y;
};

struct ActivateBack {
  Matrix x;
  Activation activation = Activation::kNone;
  bool gated = false;
  Matrix dy;
  Matrix dx;  ///< may be x itself
};

/// dx ← scale · dy · weight: dy's columns are in the order of the weight's rows.
struct LinearBack {
  Matrix dy;
  const Weight* weight = nullptr;
  float scale = 1;
  bool add = false;
  Matrix dx;
};

/// For each head h: dx_h ← dy_h · weight_h.
struct HeadLinearBack {
  Matrix dy;
  std::int64_t dy_stride = 0;
  const Weight* weight = nullptr;
  bool add = false;
  Matrix dx;
  std::int64_t dx_stride = 0;
};

/// gradient ← gradient + scale · dyᵀ · x.
struct WeightGradient {
  Matrix dy;
  Matrix x;
  float scale = 1;
  Matrix gradient;  ///< fp32, a row for each column of dy
};

/// sum ← sum + scale · the sum of x's rows: the gradient of a bias.
struct RowSum {
  Matrix x;
  float scale = 1;
  Matrix sum;  ///< one row, fp32
};

/// Of y = norm(x), towards scale · dy.
struct NormBack {
  const Norm* norm = nullptr;
  Matrix x;
  Matrix dy;
  float scale = 1;
  bool add = false;
  Matrix dx;
  Matrix weight_gradient, bias_gradient;  ///< one row, fp32; or none
};

/// From queries', keys' and values' gradients back to the fused projection's. Of a norm's and a clip's account `qkv`
/// is what Rotary read.
struct RotaryBack {
  Matrix qkv;
  float clip = 0;
  int heads = 0;
  int kv_heads = 0;
  const Norm* q_norm = nullptr;
  const Norm* k_norm = nullptr;
  Rotation rotation;
  Matrix bases;
  Ints positions;
  Matrix dq, dk, dv;
  Matrix dqkv;                    ///< may be qkv itself
  Matrix q_gradient, k_gradient;  ///< of the norms' weights: one row, fp32; or none
};

/// The same of latent attention; dk is the gradient of what the cache keeps.
struct LatentRotaryBack {
  int heads = 0;
  std::int64_t q_from = 0;
  std::int64_t q_stride = 0;
  Matrix kv;
  const Norm* kv_norm = nullptr;
  Rotation rotation;
  Ints positions;
  int latent = 0;  ///< components of the cache that are not turned: a value
  Matrix dq;       ///< heads × what the cache keeps
  Matrix dk;
  Matrix dq_turned;  ///< of each head's turned part alone, behind q_from components of q_stride
  Matrix dkv;        ///< may be kv itself
  Matrix kv_gradient;
};

/// Of sequences that are whole in this step. The cache is in fp32, bf16 or fp16.
struct AttentionBack {
  Attention forward;  ///< with its outputs, log_sums too
  Matrix dout;
  Matrix dq;
  Matrix dk;  ///< a row a token: heads of the cache × key_dim
  Matrix dv;  ///< likewise; of a cache with values in its keys none: dk has all
};

struct RouteBack {
  Route forward;  ///< with its outputs
  Matrix dweights;
  Matrix dlogits;  ///< fp32; experts that were not chosen have their part too
};

/// Gradients of the stacks are those of their matrices, one after another.
struct ExpertsBack {
  Experts forward;
  Matrix dy;
  Matrix dx;
  Matrix dweights;                    ///< tokens × active, fp32; of another rank's experts 0
  Matrix up_gradient, down_gradient;  ///< fp32, rows of all experts; or none
};

/// dx's row of choice c ← scale · dy · weight_e; dy has a row for each choice, or for each token.
struct RoutedLinearBack {
  Matrix dy;
  Ints experts;
  int active = 1;
  std::int64_t first = 0;
  const Weight* weight = nullptr;
  float scale = 1;
  bool add = false;
  Matrix dx;  ///< may be fp32 whatever dy is
};

/// gradient ← gradient + scale · dyᵀ · x, of each expert's choices, in their order: matrices of `count` experts one
/// after another. Both sides have a row for each choice, or for each token.
struct RoutedGradient {
  Matrix dy;
  Matrix x;
  Ints experts;
  int active = 1;
  std::int64_t first = 0;
  std::int64_t count = 0;
  float scale = 1;
  Matrix gradient;  ///< fp32, for each expert a row for each column of dy
};

/// The way back to what Mix weighs: dx's row ← weight · dy's row. dweights ← x's row times dy's.
struct Weigh {
  Matrix dy;  ///< a row a choice
  int active = 1;
  Matrix weights;   ///< tokens × active, fp32
  Matrix dx;        ///< may be dy itself
  Matrix x;         ///< with dweights
  Matrix dweights;  ///< tokens × active, fp32; or none
};

/// Rows of the tables that were looked up get what their tokens say, in the tokens' order.
struct EmbedBack {
  Ints tokens;
  std::int64_t first = 0;
  float scale = 1;
  Ints positions;
  Matrix dx;
  Matrix table_gradient, position_gradient;  ///< or none
};

/// dx ← the gradient of a row's targets' log-probabilities, each times its coefficient.
struct ScoreBack {
  Score forward;                        ///< its outputs do not matter
  Matrix log_sums;                      ///< of all ranks together (CombineScores)
  Matrix coefficients;                  ///< one column, fp32: of each target, d loss / d log-probability
  Matrix dx;                            ///< from this rank's part of the vocabulary
  Matrix head_gradient, bias_gradient;  ///< or none; with `others` none
  ScoredOthers others;                  ///< that Score left; or none
  Matrix logprobs;                      ///< with `others`: of each target (CombineScores)
};

/// y's row rows[i] ← x's row i, and 0 everywhere else: the way back through Gather. No row is named twice.
struct Scatter {
  Matrix x;
  Ints rows;
  Matrix y;
};

/// y ← x, some numbers of it dropped and the rest made larger: x / (1 − rate). Whether one is dropped depends on `key`,
/// its row's name and its column alone. It is its own way back.
struct Dropout {
  Matrix x;
  float rate = 0;
  std::uint64_t key = 0;
  Ints names;              ///< of the rows
  std::int64_t first = 0;  ///< of the columns
  bool add = false;        ///< to what y holds
  Matrix y;                ///< may be x itself
};

/// to ← scale · from, from number format to number format.
struct Copy {
  Matrix from;
  float scale = 1;
  Matrix to;
};

/// Matrix `index` of the weight ← from (fp32), in the weight's own format: fp32, bf16 or fp16. Transposed: from has the
/// inputs as rows.
struct Repack {
  Matrix from;
  bool transposed = false;
  Weight* weight = nullptr;
  std::int64_t index = 0;
};

/// One step of AdamW, its decay apart from the gradient: of matrices of one row, fp32.
struct AdamW {
  Matrix parameter, gradient, first, second;
  float gradient_scale = 1;
  float rate = 0;
  float beta1 = 0.9F, beta2 = 0.999F, epsilon = 1e-8F;
  float decay = 0;
  float correction1 = 1, correction2 = 1;  ///< 1 − beta^t
};

/// x ← x + share · (y − x): of fp32.
struct Blend {
  Matrix x, y;
  float share = 0;
};

/// sum ← the sum of squares of a matrix of one row, fp32; not finite where a number is not. As two numbers that are to
/// be added, so that no more is lost than doubles lose.
struct SquareSum {
  Matrix x;
  Matrix sum;  ///< one row of two
};

}  // namespace orch::kernels
