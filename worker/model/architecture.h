// A decoder described by data: what config.json says, in one vocabulary for all families.
//
// Holds: what stands here is checked: sizes are above 0 and bounded, heads divide what they must, every layer has a
// kind. The engine and the decoder trust it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"

namespace orch::model {

struct NormKind {
  bool layer = false;  ///< LayerNorm rather than RMSNorm
  float eps = 1e-5F;
  bool plus_one = false;  ///< the weight is stored less 1
  bool bias = false;
};

/// How far a rotation turns, and how that changes beyond the length that the model was trained on.
struct Rope {
  int dims = 0;  ///< components that are turned; 0: positions are told otherwise
  bool interleaved = false;
  std::vector<float> frequencies;  ///< radians a position, dims / 2
  float scale = 1;                 ///< of cosine and sine
  /// Long inputs have frequencies of their own (longrope), or a base that grows with them (dynamic).
  std::vector<float> long_frequencies;
  float long_scale = 1;
  double dynamic = 0;        ///< the factor; 0: not dynamic
  std::int64_t trained = 0;  ///< tokens beyond which either begins
};

struct LatentKind {
  std::int64_t q_rank = 0;  ///< 0: queries are projected at once
  std::int64_t kv_rank = 0;
  int nope_dim = 0;
  int rope_dim = 0;
  int value_dim = 0;
};

struct AttentionKind {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool qkv_bias = false;
  bool out_bias = false;
  bool head_norms = false;  ///< of queries and keys, over each head
  float scale = 0;
  float soft_cap = 0;
  float clip = 0;  ///< of the projection's results (DBRX); 0: none
  std::optional<LatentKind> latent;
};

struct FeedForwardKind {
  kernels::Activation activation = kernels::Activation::kSilu;
  bool gated = true;
  std::int64_t inner = 0;
  bool bias = false;
};

struct ExpertsKind {
  int count = 0;
  int active = 0;
  std::int64_t inner = 0;         ///< of one expert
  std::int64_t shared_inner = 0;  ///< of all shared ones together; 0: none
  kernels::Route::Kind kind = kernels::Route::Kind::kSoftmax;
  bool renormalise = false;
  bool choice_bias = false;
  float scale = 1;
  int groups = 1, active_groups = 1, group_best = 1;
};

struct Layer {
  std::int64_t window = 0;  ///< tokens that are seen; 0: all
  bool experts = false;
};

struct Architecture {
  std::string family;  ///< `model_type` of config.json
  std::int64_t hidden = 0;
  std::int64_t vocab = 0;
  std::int64_t context = 0;  ///< tokens
  std::vector<Layer> layers;
  NormKind norm;
  Rope rope;
  std::int64_t learned_positions = 0;  ///< rows of the table; 0: none
  bool alibi = false;                  ///< added to scores before they are scaled
  AttentionKind attention;
  FeedForwardKind feed_forward;
  std::optional<ExpertsKind> experts;
  bool parallel = false;        ///< attention and feed-forward read the same input and are added together
  bool parallel_norms = false;  ///< … each by a norm of its own
  bool post_norms = false;      ///< what attention and feed-forward give is normed before it is added
  float embedding_scale = 1;
  float residual_scale = 1;
  float logit_scale = 1;
  float logit_cap = 0;
  bool tied = false;
  bool head_bias = false;
  std::string dtype;  ///< as the file says it: bfloat16, …
};

/// Of a config.json's text; `name` is for messages.
Result<Architecture> read_architecture(std::string_view json, const std::string& name);
Result<Architecture> open_architecture(const std::filesystem::path& folder);

/// The families that read_architecture knows, by their model_type.
std::vector<std::string> known_families();

}  // namespace orch::model
