// How fast a model can run on GPUs at best, and what share of that is expected: arithmetic against memory against
// links.
//
// Nothing here was measured by us. Each share of a peak is a named constant with the place it was taken from;
// docs/planner.md has the formulas. An estimate serves to compare layouts and to ask for time until there is history.
//
// Holds:
//  - Every function returns a finite number of at least 0 for any model, layout and machine, or infinity when the
//  machine
//    cannot do the work at all (no arithmetic or no bandwidth); never NaN.
#pragma once

#include <cstdint>

#include "base/cluster.h"
#include "base/layout.h"
#include "base/memory.h"
#include "base/model.h"
#include "base/profile.h"

namespace orch::planner {

/// Share of peak arithmetic in prefill: TensorRT-LLM reaches 46 to 49 % of the FP8 peak (derived from its published
/// tokens/s).
inline constexpr double kPrefillShare = 0.45;
/// Share of memory bandwidth in decoding: 84 to 88 % by calm on one GPU, 78 % by the Hazy megakernel, up to 50 % by
/// vLLM.
inline constexpr double kDecodeShare = 0.70;
/// Share of peak arithmetic in training: llm.c reaches 46 to 55 %, nanotron 31 %.
inline constexpr double kTrainShare = 0.35;
/// Share of a link's bandwidth in a collective. An assumption.
inline constexpr double kLinkShare = 0.70;
/// Seconds that a collective inside a node takes however small it is. An assumption.
inline constexpr double kCollectiveLatency = 10e-6;
/// Seconds that a hop between pipeline stages takes however small it is. An assumption.
inline constexpr double kHopLatency = 20e-6;
/// Seconds of each decode step that are not spent on the GPU: sampling, batching. An assumption.
inline constexpr double kStepOverhead = 0.5e-3;
/// Bytes/s between GPUs of a node whose link is not given: PCIe 3.0 × 16.
inline constexpr double kPlainLink = 16e9;
/// Bytes/s between nodes, where the cluster file says nothing (cluster.h).
inline constexpr double kPlainNetwork = 25e9;
/// Bytes/s with which a node reads weights, where the cluster file says nothing (cluster.h).
inline constexpr double kPlainLoad = 2e9;
/// Tokens that one forward step takes at most.
inline constexpr double kChunk = 8192;

/// The GPUs of a job.
struct Machine {
  double flops = 0;      ///< peak of one GPU in the dtype of the weights, per second
  double bandwidth = 0;  ///< bytes/s of one GPU's memory
  double link = 0;       ///< bytes/s between GPUs of a node
  double network = 0;    ///< bytes/s between nodes
  int gpus_per_node = 1;
};
Machine machine_of(const Gpu& gpu, const Partition& partition, int gpus_per_node, DType compute);

/// What a model costs per token, worked out once.
struct Costs {
  const Decoder* decoder = nullptr;  ///< of the model, which must outlive this; null when it has none
  DType kv = DType::kBf16;
  double active = 0;        ///< parameters used for a token, without the embeddings and the head
  double head = 0;          ///< parameters of the output head
  double dense_bytes = 0;   ///< weights that every decode step reads
  double expert_bytes = 0;  ///< routed experts, all of them
  double expert_share = 0;  ///< of the routed experts, the part that one token uses
  double width = 0;         ///< heads × head size: what attention works on
};
Costs costs_of(const Model& model, DType weights, DType kv);

/// A layout, and the share of all layers that its fullest stage holds.
struct Cut {
  Layout layout;
  double stage = 1;
};
Cut cut_of(const Costs& costs, const Layout& layout);

/// Share of the routed experts that at least one of `tokens` tokens uses, were each to choose by chance.
double experts_hit(double share_of_one, double tokens);

/// Seconds of an all-reduce of `bytes` over `ranks` GPUs of a node: a ring sends each byte 2 (n − 1) / n times.
double all_reduce_seconds(double bytes, int ranks, double link);

/// Seconds for one copy to read `tokens` tokens, each of which looks back on `seen` tokens on average.
double prefill_seconds(const Costs& costs, const Cut& cut, const Machine& machine, double tokens, double seen);

/// Seconds for one copy to make one more token of each of `batch` sequences that hold `context` tokens.
double decode_step_seconds(const Costs& costs, const Cut& cut, const Machine& machine, double batch, double context);

/// One optimiser step.
struct TrainWork {
  double sequences = 1;  ///< over all copies
  double length = 0;     ///< tokens of a sequence
  double micro_batch = 1;
  double trained = 0;  ///< parameters: of the adapters, or all
  bool full = false;
  bool checkpointing = false;
  bool reference = false;  ///< one more forward pass, without adapters
};

/// Operations per token: 6 × parameters when all are trained; 4 × parameters + 6 × adapters' when they are frozen; 2 ×
/// parameters more with checkpointing, and again for a reference.
double train_flops_per_token(double active, const TrainWork& work);

double train_step_seconds(const Costs& costs, const Cut& cut, const Machine& machine, const TrainWork& work);

}  // namespace orch::planner
