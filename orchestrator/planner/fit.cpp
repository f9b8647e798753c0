// Which layouts of a shape hold a need, with which batch, and how fast each would be.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizer.h"
#include "planner/training.h"

namespace orch::planner {
namespace {

/// Sequences that a model on part of a GPU is given room for.
constexpr std::int64_t kSharedBatch = 32;
constexpr std::int64_t kMostMicroBatch = 64;
/// GPUs below this take shorter forward steps.
constexpr double kSmallGpu = 16 * kGiB;
constexpr double kTypicalPrompt = 1024;  // tokens of the batch of work that layouts are compared by
constexpr double kTypicalAnswer = 128;

}  // namespace

/// Gives the placement as many eighths of its GPU as `bytes` need, if that is at most half.
void Sizer::set_share(Placement& placement, const Gpu& gpu, double bytes) const {
  const double parts = std::ceil(kShareParts * bytes / (limits_.high * gpu.memory) - 1e-9);
  if (parts >= 1 && parts <= kShareParts / 2) placement.share = parts / kShareParts;
}

MemoryUse Sizer::memory(const Layout& layout, std::int64_t batch, bool checkpointing, const Gpu& gpu) const {
  if (need_.kind == matrix::CellKind::kTrain) {
    TrainShape shape;
    shape.weights = need_.dtype;
    shape.full = need_.full;
    shape.rank = need_.rank;
    shape.sequence = std::max<std::int64_t>(1, need_.sequence);
    shape.micro_batch = batch;
    shape.checkpointing = checkpointing;
    shape.reference = need_.reference;
    shape.ema = need_.ema;
    return training_memory(*model_, layout, shape);
  }
  InferenceShape shape;
  shape.weights = need_.dtype;
  shape.kv = need_.kv;
  shape.tokens = std::max<std::int64_t>(1, need_.tokens);
  shape.batch = batch;
  shape.rank = need_.rank;
  if (gpu.memory < kSmallGpu) shape.prefill = 2048;
  return inference_memory(*model_, layout, shape);
}

bool Sizer::fit_inference(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const {
  Placement& placement = candidate.placement;
  const double most = limits_.most * gpu.memory;
  const auto take = [&](std::int64_t batch, const MemoryUse& use) {
    placement.batch = batch;
    placement.memory = use;
    return true;
  };
  const std::int64_t least = need_.batch > 0 ? need_.batch : 1;
  const MemoryUse first = memory(placement.layout, least, false, gpu);
  lack = {placement.layout, first.total(), most};
  if (!(first.total() <= most)) return false;
  if (need_.batch > 0) return take(least, first);

  double high = limits_.high * gpu.memory;
  if (may_share) {
    set_share(placement, gpu, memory(placement.layout, kSharedBatch, false, gpu).total());
    if (placement.share < 1) high *= placement.share;
  }
  const MemoryUse full = memory(placement.layout, kUsefulBatch, false, gpu);
  if (full.total() <= high) return take(kUsefulBatch, full);
  // Beyond one sequence memory is linear in the batch, but for the forward step that grows up to its bound: the line
  // through both ends lies a little low, so what it gives is checked and lowered until it holds.
  const double slope = (full.total() - first.total()) / static_cast<double>(kUsefulBatch - 1);
  const auto largest = [&](double bound) {
    if (!(slope > 0)) return std::pair{std::int64_t{1}, first};
    auto batch = std::clamp<std::int64_t>(1 + real_to_int((bound - first.total()) / slope), 1, kUsefulBatch);
    while (batch > 1) {
      const MemoryUse use = memory(placement.layout, batch, false, gpu);
      if (use.total() <= bound) return std::pair{batch, use};
      batch -= std::max<std::int64_t>(1, std::min(batch - 1, 1 + real_to_int((use.total() - bound) / slope)));
    }
    return std::pair{std::int64_t{1}, first};
  };
  auto found = largest(high);
  if (const std::int64_t wanted = site_.policy.planning.batch_least; found.first < wanted) {
    // Rather above the target than without a batch, but no more than that takes.
    const MemoryUse use = memory(placement.layout, wanted, false, gpu);
    found = use.total() <= most ? std::pair{wanted, use} : largest(most);
  }
  return take(found.first, found.second);
}

bool Sizer::fit_training(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const {
  Placement& placement = candidate.placement;
  const double most = limits_.most * gpu.memory;
  const double high = limits_.high * gpu.memory;
  const std::int64_t each = std::max<std::int64_t>(1, need_.global_batch / std::max(1, placement.layout.dp));
  std::vector<std::int64_t> sizes;  // largest first
  if (need_.micro_batch > 0) {
    sizes.push_back(need_.micro_batch);
  } else {
    std::int64_t largest = 1;
    while (largest * 2 <= kMostMicroBatch && each % (largest * 2) == 0) largest *= 2;
    for (std::int64_t size = largest; size >= 1; size /= 2) sizes.push_back(size);
  }
  for (const bool checkpointing : {false, true}) {
    if (checkpointing != need_.checkpointing.value_or(checkpointing)) continue;
    const MemoryUse least = memory(placement.layout, sizes.back(), checkpointing, gpu);
    lack = {placement.layout, least.total(), most};
    if (!(least.total() <= most)) continue;
    for (const std::int64_t size : sizes) {
      const bool last = size == sizes.back();
      const MemoryUse use = last ? least : memory(placement.layout, size, checkpointing, gpu);
      if (!last && !(use.total() <= high)) continue;
      placement.batch = size;
      placement.memory = use;
      placement.checkpointing = checkpointing;
      if (may_share) set_share(placement, gpu, use.total());
      return true;
    }
  }
  return false;
}

void Sizer::estimate(Candidate& candidate, const Costs& costs) const {
  const policy::Planning& planning = site_.policy.planning;
  const Placement& p = candidate.placement;
  const Machine machine = machine_of(gpu(p), partition(p), profile(p).gpus_per_node, need_.compute);
  const Cut cut = cut_of(costs, p.layout);
  if (need_.kind == matrix::CellKind::kTrain) {
    TrainWork work;
    work.sequences = static_cast<double>(std::max<std::int64_t>(1, need_.global_batch));
    work.length = static_cast<double>(std::max<std::int64_t>(1, need_.sequence));
    work.micro_batch = static_cast<double>(p.batch);
    work.trained = need_.full ? model_->params : adapter_params(*model_->decoder, need_.rank);
    work.full = need_.full;
    work.checkpointing = p.checkpointing;
    work.reference = need_.reference;
    candidate.seconds = train_step_seconds(costs, cut, machine, work);
    if (p.memory.total() > limits_.high * gpu(p).memory) {
      candidate.cramped = true;
      candidate.cramped_why = above_target(p);
    }
  } else {
    const double tokens = static_cast<double>(std::max<std::int64_t>(4, need_.tokens));
    const double prompt = std::min(kTypicalPrompt, tokens * 3 / 4);
    const double answer = std::min(kTypicalAnswer, tokens / 4);
    const double batch = static_cast<double>(p.batch);
    const double step = decode_step_seconds(costs, cut, machine, batch, prompt + answer / 2);
    const double all = prefill_seconds(costs, cut, machine, batch * prompt, prompt / 2) + answer * step;
    candidate.seconds = all / (batch * p.layout.dp);
    candidate.sequence_rate = step > 0 ? 1 / step : 0;
    if (need_.batch == 0 && p.batch < planning.batch_least) {
      candidate.cramped = true;
      candidate.cramped_why =
          "there is room for only " + counted(p.batch, "sequence") + " of " + grouped(need_.tokens) + " tokens at once";
    } else if (candidate.sequence_rate < planning.rate_least) {
      candidate.cramped = true;
      candidate.cramped_why = "a sequence would get about " + format_fixed(candidate.sequence_rate, 1) +
                              " tokens/s, below " + plain(planning.rate_least);
    } else if (need_.batch == 0 && p.memory.total() > limits_.high * gpu(p).memory) {
      candidate.cramped = true;
      candidate.cramped_why = above_target(p);
    }
  }
  if (p.share < 1) candidate.seconds /= p.share;
}

std::optional<std::string> Sizer::why_not_trained(const Layout& layout) const {
  return goes_on(need_) ? why_native_trains_not(*model_, layout) : std::nullopt;
}

Evaluated Sizer::evaluate(const Shape& shape, const Costs& costs) const {
  const Profile& its = site_.catalog.profiles[shape.profile];
  const Partition& where = site_.cluster.partitions[shape.partition];
  const Gpu& card = gpu(shape);
  Evaluated result;
  const Layouts layouts = layouts_for(*model_, its.gpus(), its.gpus_per_node);
  const bool copies = fastest_ || need_.gpus > 0;
  for (const auto& [layout, why] : layouts.refused)
    if (layout.dp == 1) result.illegal.push_back(why);
  for (const Layout& layout : layouts.legal) {
    if (layout.dp > 1 && !copies) continue;
    if (need_.tensor > 0 && layout.tp != need_.tensor) continue;
    if (need_.pipeline > 0 && layout.pp != need_.pipeline) continue;
    if (const auto why = why_not_trained(layout)) {
      if (layout.dp == 1) result.illegal.push_back(*why);
      continue;
    }
    if (layout.dp > 1 && need_.kind == matrix::CellKind::kTrain && need_.global_batch % layout.dp != 0) continue;
    Candidate candidate;
    candidate.use = use_rank(its, *model_);
    Placement& p = candidate.placement;
    p.profile = shape.profile;
    p.partition = shape.partition;
    p.layout = layout;
    p.nodes = its.nodes;
    p.gpus = layout.gpus();
    const bool may_share = where.shares_gpus && p.gpus == 1 && need_.gpus == 0 && !fastest_;
    Lack lack;
    const bool fits = need_.kind == matrix::CellKind::kTrain ? fit_training(candidate, card, may_share, lack)
                                                             : fit_inference(candidate, card, may_share, lack);
    if (!fits) {
      if (!result.nearest || lack.needs - lack.allowed < result.nearest->needs - result.nearest->allowed)
        result.nearest = lack;
      continue;
    }
    p.utilisation = p.memory.total() / card.memory;
    estimate(candidate, costs);
    if (std::isfinite(candidate.seconds)) result.fitting.push_back(std::move(candidate));
  }
  std::stable_sort(result.fitting.begin(), result.fitting.end(),
                   [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
  return result;
}

}  // namespace orch::planner
