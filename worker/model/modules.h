// The linear layers of a checkpoint, by the names that PEFT knows them by, and where a rank's decoder has them.
//
// A projection of the decoder may be several of them (queries, keys and values), and one of them may be several runs of
// rows there (a rank's heads).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/adapter.h"

namespace orch::model {

struct Module {
  std::string path;       ///< model.layers.0.self_attn.q_proj
  std::size_t layer = 0;  ///< of the stage
  Place place = Place::kQkv;
  std::int64_t from = 0;      ///< the first of the projection's results that are its
  std::vector<Part> outputs;  ///< which of its outputs they are, in order
  Part inputs;                ///< which of its inputs this rank has
  std::int64_t all_outputs = 0, all_inputs = 0;
  /// Of latent attention's kv_b_proj: outputs of a head that are its key, and its value.
  std::int64_t keys = 0, values = 0;
  /// Of a stack of experts: inputs and outputs are those of one; 0: a linear layer.
  std::int64_t all_experts = 0;
  Part experts{};  ///< those that this rank has
  ExpertNames names;

  std::int64_t own_outputs() const;
  /// The same for a path, whatever else there is.
  std::uint64_t hash() const;
};

/// Of all layers of the stage, in order. A stack of experts is there on every rank, also on one that has none of them.
std::vector<Module> modules_of(const Sources& sources);

/// Whether a module of this path is one.
bool is_stack_of_experts(const std::string& path);

/// A linear layer of one expert, as a checkpoint has it: of a stack's module one or two an expert.
struct SingleExpert {
  std::string path;
  std::int64_t expert = 0;
  Part outputs;  ///< which of the stack's these are
};
std::vector<SingleExpert> single_experts(const Module& module);

/// A weight that a module's LowRank has: each matrix of it is a part of A (rank × inputs) or of B transposed
/// (rank × outputs), of what this rank has of them; of a stack those of its experts below each other.
struct LowRankWeight {
  struct Piece {
    bool of_b = false;
    std::int64_t row = 0, col = 0;    ///< the first
    std::int64_t rows = 0, cols = 0;  ///< of the part
    bool is_turned = false;           ///< its columns are the matrix's rows
  };
  const kernels::Weight* LowRank::*member = nullptr;
  std::vector<Piece> stack;  ///< of one shape

  kernels::WeightShape shape(DType dtype) const;
};
std::vector<LowRankWeight> low_rank_weights(const Module& module, std::int64_t rank);

/// The name of a module's tensor in a checkpoint, whatever the decoder makes of it; nothing where there is none.
std::optional<std::string> tensor_of(const std::string& path, const Checkpoint& checkpoint);

}  // namespace orch::model
