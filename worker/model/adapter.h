// What is added to a decoder's linear layers without changing them: y ← y + scale · B · A · x, of low rank.
#pragma once

#include <cstdint>
#include <vector>

#include "model/layer.h"

namespace orch::model {

/// Of one linear layer of the checkpoint, which is some columns of what a projection gives.
struct LowRank {
  std::int64_t from = 0;               ///< the first of the projection's results that it adds to
  const kernels::Weight* a = nullptr;  ///< rank × inputs
  const kernels::Weight* b = nullptr;  ///< results × rank
  float scale = 1;
  std::int64_t first_input = 0;   ///< of the whole linear layer's inputs, that this rank has
  std::uint64_t mask = 0;         ///< the linear layer's own: whichever rank or stage has it, the same is dropped
  std::int64_t first_expert = 0;  ///< of stacks, a matrix an expert: whose the first is

  // Of latent attention's keys and values (Place::kKeyValueUp), which are never made: queries go to the compressed ones
  // and values come from them. There `b` is a stack, a matrix a head of what makes its values.
  const kernels::Weight* a_turned = nullptr;  ///< inputs × rank
  const kernels::Weight* b_keys = nullptr;    ///< a stack: of each head what makes its keys, turned: rank × its keys

  std::int64_t rank() const { return a->rows; }
};

/// Of one layer.
using LayerAdapter = ByPlace<std::vector<LowRank>>;

/// Of a stage's layers.
struct Adapter {
  std::vector<LayerAdapter> layers;
  std::int64_t rank = 0;         ///< the largest
  std::int64_t expert_rank = 0;  ///< of those at experts the largest; 0: none is there
};

/// Where an adapter's inputs are dropped in training.
struct Drops {
  float rate = 0;  ///< 0: none
  std::uint64_t key = 0;
  kernels::Ints names;  ///< of the step's tokens
};

/// Gradients of a LowRank, fp32: of A, and of B transposed; both have a row for each rank.
struct LowRankGradient {
  kernels::Matrix a, b;
};

/// Where gradients of what is trained go, fp32; none where something is not. Weights that are stacks have their
/// matrices one after another.
struct LayerGradients {
  ByPlace<kernels::Matrix> weights, biases;
  ByNorm<kernels::Matrix> norms, norm_biases;
  kernels::Matrix key_up, value_up, experts_up, experts_down;
  ByPlace<std::vector<LowRankGradient>> adapter;
};

struct Gradients {
  kernels::Matrix embedding, positions, norm, norm_bias, head, head_bias;
  std::vector<LayerGradients> layers;
};

}  // namespace orch::model
