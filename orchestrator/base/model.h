// A model: what it is called, what it is made of, who may run it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/dtype.h"
#include "base/yaml.h"

namespace orch {

/// What can run a model's cells. `native` is orch-worker, the others are programs people already have.
enum class Engine { kNative, kLmEval, kCommand };
std::string_view name_of(Engine engine);
std::optional<Engine> engine_named(std::string_view name);

enum class ModelKind { kText, kVisionLanguage, kImage, kOther };
std::string_view name_of(ModelKind kind);

/// A mixture of experts, in the layers that have one.
struct Experts {
  int count = 0;                ///< routed experts of a layer
  int active = 0;               ///< of them, used for a token
  std::int64_t ffn = 0;         ///< inner size of one routed expert
  int shared = 0;               ///< experts that every token uses
  std::int64_t shared_ffn = 0;  ///< inner size of all shared experts together
  int first_dense = 0;          ///< leading layers that have the plain feed-forward of Decoder::ffn instead
  int every = 1;                ///< of the rest, every n-th layer has experts
  bool router_bias = false;     ///< one bias per expert
};

/// Multi-head latent attention (DeepSeek): keys and values are kept as one compressed vector of a token.
struct Latent {
  std::int64_t q_rank = 0;  ///< 0: queries are not compressed
  std::int64_t kv_rank = 0;
  std::int64_t nope_dim = 0;
  std::int64_t rope_dim = 0;
  std::int64_t value_dim = 0;
};

/// A causal decoder. From these numbers its parameters and memory are computed; none is 0 unless it says so.
struct Decoder {
  int layers = 0;
  std::int64_t hidden = 0;
  int heads = 0;
  int kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t ffn = 0;     ///< inner size of the feed-forward; 0 only if every layer has experts
  bool gated_ffn = true;    ///< three matrices (SwiGLU, GeGLU) instead of two
  std::int64_t vocab = 0;   ///< rows of the embedding as stored
  bool tied = false;        ///< the output head shares the embedding's weights
  bool layer_norm = false;  ///< LayerNorm (scale and bias) instead of RMSNorm (scale)
  bool norm_bias = true;    ///< of LayerNorm
  int norms = 2;            ///< norms of a layer, over the hidden size
  bool qk_norm = false;     ///< a norm over each head of queries and keys
  bool qkv_bias = false;
  bool out_bias = false;
  bool ffn_bias = false;
  bool embedding_norm = false;
  std::int64_t positions = 0;  ///< rows of a learned position embedding; 0: none
  std::int64_t window = 0;     ///< tokens that sliding-window layers see; 0: all layers see everything
  int full_every = 0;          ///< with a window: every n-th layer sees everything; 0: none does
  int extra_layers = 0;  ///< multi-token-prediction layers stored with the model, not counted in its published size
  std::optional<Experts> experts;
  std::optional<Latent> latent;

  /// Whether layer `index` (from 0) has experts.
  bool has_experts(int index) const;
};

/// The tower that turns images into tokens. It is replicated on every tensor-parallel rank when its heads do not
/// divide.
struct Vision {
  std::string name;
  int layers = 0;
  std::int64_t hidden = 0;
  int heads = 0;
  std::int64_t ffn = 0;
  double params = 0;         ///< tower and projector
  int tokens_per_image = 0;  ///< decoder tokens that one image becomes
};

/// How weights stored in 8 bits are scaled.
enum class Scales { kNone, kTensor, kChannel, kBlock128 };
std::string_view name_of(Scales scales);

struct Model {
  std::string name;
  std::string hf_id;
  std::string revision = "main";
  std::string resolved;  ///< the commit, or a digest of a folder's files, where someone looked (inputs/models.h)
  std::string family;
  ModelKind kind = ModelKind::kText;
  double params = 0;           ///< published
  double active_params = 0;    ///< of a mixture of experts: used for a token; otherwise params
  std::int64_t context = 0;    ///< tokens
  DType dtype = DType::kBf16;  ///< as stored
  Scales scales = Scales::kNone;
  std::string license;
  bool gated = false;
  std::vector<Engine> engines;
  std::optional<Decoder> decoder;  ///< absent: an image model, or a fact that cannot be known (see unknown)
  std::optional<Vision> vision;
  std::map<std::string, std::string> unknown;  ///< fact → why it is not known
  std::string notes;
  Place source;      ///< where this entry stands
  bool own = false;  ///< a name of a matrix, of which no catalog knows anything

  bool is_moe() const { return decoder && decoder->experts.has_value(); }
  bool runs_on(Engine engine) const;
};

/// Parameters computed from the architecture, the vision tower's published count included.
struct ParamCount {
  double total = 0;
  double active = 0;     ///< used for one token (all experts that are not chosen left out)
  double embedding = 0;  ///< of `total`, the embeddings and the head
};
ParamCount count_params(const Model& model);  // requires model.decoder

/// Parameters of layer `index` (norms included), and of them those used for one token.
struct LayerParams {
  double attention = 0;
  double dense = 0;    ///< feed-forward, shared experts, norms, router
  double experts = 0;  ///< all routed experts
  double active_experts = 0;
};
LayerParams layer_params(const Decoder& decoder, int index);

/// Seed 003's size classes, half-open: 7B is medium, 13B large, 70B xlarge, each from 2 % below, because models are
/// sold under round numbers (Llama-2-70B has 68.98B). Below 1B is small too.
enum class SizeClass { kSmall, kMedium, kLarge, kXLarge };
SizeClass size_class(double params);
std::string_view name_of(SizeClass size);

/// One entry of a models file.
Model read_model(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch
