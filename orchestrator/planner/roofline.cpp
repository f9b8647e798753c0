#include "planner/roofline.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orch::planner {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

// A cost divided by a speed. No cost takes no time whatever the speed; a cost without speed never ends.
double over(double cost, double speed) {
  if (!(cost > 0)) return 0;
  return speed > 0 ? cost / speed : kForever;
}

// NaN can only come from infinities met on the way: the work is not done then.
double settled(double seconds) { return std::isnan(seconds) ? kForever : std::max(0.0, seconds); }

// Seconds to hand `tokens` tokens from one pipeline stage to the next, over the slowest boundary.
double hop_seconds(const Costs& costs, const Cut& cut, const Machine& machine, double tokens) {
  const Layout& layout = cut.layout;
  if (layout.pp <= 1) return 0;
  const bool leaves_node = static_cast<std::int64_t>(layout.tp) * layout.pp > machine.gpus_per_node;
  const double speed = (leaves_node ? machine.network : machine.link) * kLinkShare;
  return kHopLatency + over(tokens * static_cast<double>(costs.decoder->hidden) * 2, speed);
}

// Seconds of the `reduces` all-reduces that each layer of the fullest stage makes.
double layer_reduces(const Costs& costs, const Cut& cut, const Machine& machine, double tokens, int reduces) {
  const Layout& layout = cut.layout;
  if (layout.tp <= 1) return 0;
  const double bytes = tokens * static_cast<double>(costs.decoder->hidden) * 2;
  return reduces * cut.stage * costs.decoder->layers * all_reduce_seconds(bytes, layout.tp, machine.link);
}

}  // namespace

Machine machine_of(const Gpu& gpu, const Partition& partition, int gpus_per_node, DType compute) {
  Machine machine;
  machine.flops = gpu.flops_for(compute);
  machine.bandwidth = gpu.bandwidth;
  machine.link = gpu.link > 0 ? gpu.link : kPlainLink;
  machine.network = partition.network > 0 ? partition.network : kPlainNetwork;
  machine.gpus_per_node = std::max(1, gpus_per_node);
  return machine;
}

Costs costs_of(const Model& model, DType weights, DType kv) {
  Costs costs;
  costs.kv = kv;
  const double bytes = weight_bytes(model, weights);
  if (!model.decoder) {
    costs.active = std::max(0.0, model.params);
    costs.dense_bytes = bytes;
    return costs;
  }
  const Decoder& decoder = *model.decoder;
  costs.decoder = &decoder;
  const ParamCount count = count_params(model);
  const double tower = model.vision ? model.vision->params : 0;
  costs.head = static_cast<double>(decoder.vocab) * static_cast<double>(decoder.hidden);
  costs.active = std::max(0.0, count.active - count.embedding - tower);
  costs.width = static_cast<double>(decoder.heads) * static_cast<double>(decoder.head_dim);
  if (decoder.latent)
    costs.width = static_cast<double>(decoder.heads) *
                  static_cast<double>(decoder.latent->nope_dim + decoder.latent->rope_dim + decoder.latent->value_dim) /
                  2;
  double experts = 0;
  if (decoder.experts) {
    for (int layer = 0; layer < decoder.layers; ++layer) experts += layer_params(decoder, layer).experts;
    if (decoder.experts->count > 0)
      costs.expert_share = std::clamp(static_cast<double>(decoder.experts->active) / decoder.experts->count, 0.0, 1.0);
  }
  // The input embedding is looked up by rows, and the vision tower is done with after prefill.
  const double unread = (decoder.tied ? 0 : costs.head) + tower;
  const double per_param = count.total > 0 ? bytes / count.total : 0;
  costs.expert_bytes = experts * per_param;
  costs.dense_bytes = std::max(0.0, count.total - experts - unread) * per_param;
  return costs;
}

Cut cut_of(const Costs& costs, const Layout& layout) {
  Cut cut{layout, 1};
  if (layout.pp <= 1 || !costs.decoder || costs.decoder->layers <= 0) return cut;
  const std::vector<int> stages = split_layers(*costs.decoder, layout.pp);
  cut.stage = static_cast<double>(*std::max_element(stages.begin(), stages.end())) / costs.decoder->layers;
  return cut;
}

double experts_hit(double share_of_one, double tokens) {
  if (!(share_of_one > 0) || !(tokens > 0)) return 0;
  return 1 - std::pow(1 - std::min(1.0, share_of_one), tokens);
}

double all_reduce_seconds(double bytes, int ranks, double link) {
  if (ranks <= 1) return 0;
  return kCollectiveLatency + over(2.0 * (ranks - 1) / ranks * bytes, link * kLinkShare);
}

double prefill_seconds(const Costs& costs, const Cut& cut, const Machine& machine, double tokens, double seen) {
  const Layout& layout = cut.layout;
  if (!(tokens > 0)) return 0;
  if (!costs.decoder) return settled(over(2 * costs.active * tokens, machine.flops * kPrefillShare * layout.gpus()));
  const double stage = cut.stage;
  const double chunks = std::ceil(tokens / kChunk);
  const double chunk = tokens / chunks;
  const double attention = 4 * costs.width * seen * costs.decoder->layers;
  const double arithmetic =
      over((2 * costs.active + attention) * chunk * stage / layout.tp, machine.flops * kPrefillShare);
  const double bytes = costs.dense_bytes + costs.expert_bytes * experts_hit(costs.expert_share, chunk);
  const double reading = over(bytes * stage / layout.tp, machine.bandwidth * kDecodeShare);
  const double one = std::max(arithmetic, reading) + layer_reduces(costs, cut, machine, chunk, 2) +
                     hop_seconds(costs, cut, machine, chunk);
  return settled((chunks + layout.pp - 1) * one);
}

double decode_step_seconds(const Costs& costs, const Cut& cut, const Machine& machine, double batch, double context) {
  const Layout& layout = cut.layout;
  if (!(batch > 0)) return 0;
  if (!costs.decoder)
    return settled(kStepOverhead + over(costs.dense_bytes, machine.bandwidth * kDecodeShare * layout.gpus()));
  // The batch is cut into as many groups as there are stages, so that every stage has one at each moment.
  const double group = batch / std::min<double>(layout.pp, std::max(1.0, batch));
  const double stage = cut.stage;
  const double weights =
      (costs.dense_bytes + costs.expert_bytes * experts_hit(costs.expert_share, group)) * stage / layout.tp;
  // Of the whole depth, then of the stage: cheaper than finding the stages again.
  const double kv = stage * kv_bytes_read(*costs.decoder, layout.tp, costs.kv, context, group);
  const double attention = 4 * costs.width * context * costs.decoder->layers;
  const double flops = (2 * (costs.active + costs.head) + attention) * group * stage / layout.tp;
  const double one =
      std::max(over(weights + kv, machine.bandwidth * kDecodeShare), over(flops, machine.flops * kPrefillShare)) +
      layer_reduces(costs, cut, machine, group, 2) + hop_seconds(costs, cut, machine, group);
  return settled(kStepOverhead + layout.pp * one);
}

double train_flops_per_token(double active, const TrainWork& work) {
  double flops = work.full ? 6 * active : 4 * active + 6 * work.trained;
  if (work.checkpointing) flops += 2 * active;
  if (work.reference) flops += 2 * active;
  return flops;
}

double train_step_seconds(const Costs& costs, const Cut& cut, const Machine& machine, const TrainWork& work) {
  const Layout& layout = cut.layout;
  if (!(work.sequences > 0) || !(work.length > 0)) return 0;
  const double per_token = train_flops_per_token(costs.active + costs.head, work);
  if (!costs.decoder)
    return settled(over(per_token * work.sequences * work.length, machine.flops * kTrainShare * layout.gpus()));
  const double stage = cut.stage;
  const double micro = std::max(1.0, work.micro_batch);
  const double rounds = std::max(1.0, std::ceil(work.sequences / (micro * layout.dp)));
  const double tokens = micro * work.length;
  // Causal attention looks back on half the sequence; backward costs twice forward.
  const double attention = 3 * 4 * costs.width * (work.length / 2) * costs.decoder->layers;
  const double arithmetic = over((per_token + attention) * tokens * stage / layout.tp, machine.flops * kTrainShare);
  const double one = arithmetic + layer_reduces(costs, cut, machine, tokens, work.checkpointing ? 6 : 4) +
                     2 * hop_seconds(costs, cut, machine, tokens);
  const double share = work.trained / layout.tp / layout.pp;
  // Copies average fp32 gradients; AdamW reads and writes weight, gradient and two states.
  const bool leaves_node = layout.gpus() > machine.gpus_per_node;
  const double exchange = all_reduce_seconds(share * 4, layout.dp, leaves_node ? machine.network : machine.link);
  const double update = over(share * 28, machine.bandwidth * kDecodeShare);
  return settled((rounds + layout.pp - 1) * one + exchange + update);
}

}  // namespace orch::planner
