// What a model needs of each GPU's memory. The formulas of inference are held against the worker's `plan` backend
// (tests/infer/memory_plan_test.cpp).
//
// Figures are for the fullest GPU of a layout, in bytes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/layout.h"
#include "base/model.h"

namespace orch {

struct MemoryUse {
  double weights = 0;  ///< with scales of quantised weights, and the vision tower
  double kv = 0;
  double activations = 0;
  double adapter = 0;  ///< LoRA weights, in 16 bits; of training with an fp32 master
  double gradients = 0;
  double optimizer = 0;  ///< AdamW: two fp32 states for each trained parameter
  double average = 0;    ///< of the trained parameters over the steps, in fp32
  double overhead = 0;   ///< CUDA context, communication buffers, workspace, fragmentation
  double total() const { return weights + kv + activations + adapter + gradients + optimizer + average + overhead; }
  /// The parts that are not 0, by name, in the order above.
  std::vector<std::pair<std::string, double>> parts() const;
};

/// KV cache of one token over all layers and heads. Latent attention keeps one vector of kv_rank + rope_dim a layer.
double kv_bytes_per_token(const Decoder& decoder, DType kv);

/// The KV cache of `batch` sequences of `tokens` tokens on one GPU of the fullest stage: heads split over tp
/// (replicated where too few), a latent cache whole on every rank. What a window has left behind is kept too: layers
/// share their pages, and others may see it.
double kv_bytes_per_gpu(const Decoder& decoder, const Layout& layout, DType kv, double tokens, double batch);

/// What one more token of each of `batch` sequences reads of it on one rank, over all layers: of layers with a window
/// no more than that.
double kv_bytes_read(const Decoder& decoder, int tp, DType kv, double tokens, double batch);

struct InferenceShape {
  DType weights = DType::kBf16;
  DType kv = DType::kBf16;
  std::int64_t tokens = 4096;   ///< of a sequence: prompt and answer
  std::int64_t batch = 1;       ///< sequences at once in each data-parallel copy
  std::int64_t prefill = 8192;  ///< tokens that one forward step takes at most
  std::int64_t rank = 0;        ///< of the adapter that is loaded beside the weights; 0: none
};
MemoryUse inference_memory(const Model& model, const Layout& layout, const InferenceShape& shape);

/// Which linear layers get adapters.
struct TrainShape {
  DType weights = DType::kBf16;  ///< of the frozen base
  bool full = false;             ///< every parameter is trained; rank means nothing then
  std::int64_t rank = 16;
  std::int64_t sequence = 2048;
  std::int64_t micro_batch = 1;  ///< sequences of one forward and backward on each data-parallel copy
  bool checkpointing = true;     ///< activations of a layer are computed again in the backward pass
  bool reference = false;        ///< DPO and GRPO: log-probabilities of the base; the same weights with the adapter off
  bool ema = false;              ///< an exponential moving average of the trained parameters is kept
};
MemoryUse training_memory(const Model& model, const Layout& layout, const TrainShape& shape);

/// Parameters of rank-`rank` adapters on every linear layer (q, k, v, o, and the feed-forward; experts included),
/// before sharding.
double adapter_params(const Decoder& decoder, std::int64_t rank);

/// Half the smaller side of the narrowest linear layer that gets an adapter: a rank above it compresses nothing.
std::int64_t most_useful_rank(const Decoder& decoder);

/// Bytes of the weights as they lie on disk or as made on load, whole model.
double weight_bytes(const Model& model, DType dtype);

}  // namespace orch
