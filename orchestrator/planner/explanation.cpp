// Why a place was chosen, or none was found, in sentences.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizer.h"
#include "planner/training.h"

namespace orch::planner {

std::string percent(double share) { return format_fixed(share * 100, 0) + " %"; }
std::string times(double factor) { return "est. " + format_fixed(factor, 2) + " × the time"; }

std::string plain(double number) { return format_fixed(number, number == std::floor(number) ? 0 : 1); }

std::string Sizer::label(const Placement& p) const {
  std::string text = shown(profile(p).name);
  if (several_partitions()) text += " on " + shown(partition(p).name);
  return text;
}

// `llama2_70b in bf16`, with what a training adds.
std::string Sizer::what() const {
  std::string text = (model_ ? shown(model_->name) : "a job") + " in " + std::string(name_of(need_.dtype));
  if (need_.kind == matrix::CellKind::kTrain)
    text += need_.full ? ", all of it trained" : ", trained at rank " + std::to_string(need_.rank);
  return text;
}

std::string Sizer::suggestion(const Gpu& gpu) const {
  if (bytes_of(need_.dtype) < 2 || need_.full)
    return "a profile with more GPUs, or a GPU with more memory, would hold it";
  const DType smaller = gpu.computes(DType::kFp8) ? DType::kFp8 : DType::kInt8;
  return "dtype " + std::string(name_of(smaller)) + " takes about " +
         (bytes_of(need_.dtype) > 2 ? "a quarter" : "half") +
         " of the memory for weights (another cell, with other numbers), or a profile with more GPUs";
}

std::string Sizer::above_target(const Placement& p) const {
  return "each GPU is filled to " + percent(p.memory.total() / gpu(p).memory) + ", above the target of " +
         percent(limits_.high);
}

Result<Sizing> Sizer::nothing_fits() const {
  if (!miss_) {
    std::string text = "no profile can run " + what() + " on cluster " + quote(site_.cluster.name);
    const std::size_t shown_reasons = std::min<std::size_t>(3, refused_.size());
    for (std::size_t i = 0; i < shown_reasons; ++i) text += (i == 0 ? ": " : "; ") + refused_[i];
    return Error{text};
  }
  const Profile& its = site_.catalog.profiles[miss_shape_->profile];
  const Partition& where = site_.cluster.partitions[miss_shape_->partition];
  const Gpu& card = gpu(*miss_shape_);
  std::string text = what() + " (" + format_bytes(weight_bytes(*model_, need_.dtype)) +
                     " of weights) fits no profile: the largest shape that was tried, " + shown(its.name) + " on " +
                     shown(where.name) + " (" + counted(its.gpus(), "GPU") + " of " + format_bytes(card.memory) +
                     "), at " + to_string(miss_->layout) + " needs " + format_bytes(miss_->needs) + " of a GPU, " +
                     format_bytes(miss_->needs - miss_->allowed) + " more than the " + format_bytes(miss_->allowed) +
                     " that may be used";
  return Error{text + "; " + suggestion(card)};
}

// One line for each thing that decided.
void Sizer::explain(Sizing& sizing, const Candidate& chosen, const Evaluated& on_shape) const {
  const Placement& p = chosen.placement;
  const Gpu& card = gpu(p);
  std::vector<std::string>& reasons = sizing.reasons;
  std::string first = what() + " is " + format_bytes(weight_bytes(*model_, need_.dtype)) + " of weights: " + label(p) +
                      ", " + counted(p.gpus, "GPU") + " of " + shown(card.name);
  if (need_.gpus > 0) first += ", as the settings ask";
  reasons.push_back(first + ", holds it at " + percent(p.utilisation) + " of each GPU");
  const std::size_t legal = on_shape.fitting.size();
  if (legal > 1)
    reasons.push_back(to_string(p.layout) + " is the fastest of " + std::to_string(legal) +
                      " layouts that fit there; the next, " + to_string(on_shape.fitting[1].placement.layout) +
                      ", takes " + times(on_shape.fitting[1].seconds / on_shape.fitting[0].seconds));
  else if (p.gpus > 1)
    reasons.push_back(to_string(p.layout) + " is the only layout that is legal and fits there");
  if (need_.kind == matrix::CellKind::kTrain) {
    const std::int64_t each = std::max<std::int64_t>(1, need_.global_batch / std::max(1, p.layout.dp));
    reasons.push_back("micro-batch " + std::to_string(p.batch) + ": the largest power of two that fits; " +
                      counted((each + p.batch - 1) / p.batch, "accumulation step") + " make the global batch of " +
                      std::to_string(need_.global_batch) + ", which never changes");
    reasons.push_back(p.checkpointing
                          ? "activations are computed again in the backward pass (checkpointing): " +
                                std::string(need_.checkpointing ? "as the settings ask" : "they do not fit otherwise")
                          : "activations are kept: " +
                                std::string(need_.checkpointing ? "as the settings ask" : "memory allows it"));
    std::vector<std::string> hardware = hardware_choice(card).reasons;
    if (need_.dtype == DType::kFp16)
      hardware[0] = "fp16, as the model is stored or the settings ask: the loss is scaled dynamically";
    else if (need_.dtype == DType::kFp32)
      hardware[0] = "fp32, as the settings ask";
    reasons.insert(reasons.end(), hardware.begin(), hardware.end());
  } else if (need_.batch > 0) {
    reasons.push_back("batch " + std::to_string(p.batch) + " as the settings ask");
  } else if (p.batch == kUsefulBatch) {
    reasons.push_back("batch " + std::to_string(kUsefulBatch) + ": more at once would add little, so " +
                      percent(p.utilisation) + " of the memory is enough");
  } else {
    reasons.push_back("batch " + std::to_string(p.batch) + " of " + grouped(need_.tokens) +
                      " tokens fills each GPU to " + percent(p.utilisation));
  }
  if (p.share < 1)
    reasons.push_back("it needs at most half a GPU and the partition shares GPUs: " +
                      std::to_string(static_cast<int>(std::lround(p.share * kShareParts))) + "/8 of one");
  if (need_.compute != need_.dtype)
    reasons.push_back("weights are kept in " + std::string(name_of(need_.dtype)) + " and widened to " +
                      std::string(name_of(need_.compute)) + " as they are read (compute_dtype)");
  if (p.nodes > 1)
    reasons.push_back("no node holds it: the pipeline goes over " + counted(p.nodes, "node") +
                      ", tensor parallelism stays inside each");
  if (model_->vision && p.layout.tp > 1 && !vision_splits(*model_->vision, p.layout.tp))
    reasons.push_back("the vision tower " + shown(model_->vision->name) + " has " +
                      counted(model_->vision->heads, "head") + ", which do not divide by tp " +
                      std::to_string(p.layout.tp) + ": each GPU has all of it");
  if (chosen.cramped) reasons.push_back("nothing larger does much better, although " + chosen.cramped_why);
}

}  // namespace orch::planner
