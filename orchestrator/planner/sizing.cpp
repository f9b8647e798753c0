#include "planner/sizing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "base/text.h"
#include "base/units.h"
#include "planner/roofline.h"
#include "planner/shapes.h"
#include "planner/training.h"

namespace orch::planner {
namespace {

// The longest question is reckoned at twice the mean one.
constexpr double kLongestOverMean = 2;
// Needs are rounded up to one of these, so that tasks of different length and shots share a load.
constexpr std::array<std::int64_t, 9> kTokenBuckets = {4096,   8192,   16384,   32768,   65536,
                                                       131072, 262144, 1048576, 10485760};
constexpr double kBytesPerToken = 4;  // of a text that goes before every prompt

/// Sequences at once; more adds little, because arithmetic then bounds decoding.
constexpr std::int64_t kUsefulBatch = 256;
/// With fewer sequences at once a placement is cramped.
constexpr std::int64_t kLeastBatch = 8;
/// Sequences that a model on part of a GPU is given room for.
constexpr std::int64_t kSharedBatch = 32;
constexpr std::int64_t kMostMicroBatch = 64;
/// Tokens/s of a sequence, seed 001; below that a placement is cramped.
constexpr double kLeastRate = 10;
/// How much more work each GPU of a larger placement must do for it to replace a cramped one.
constexpr double kEfficiencyWorth = 1.5;
/// A profile of the model's own kind is taken with less than this many times the GPUs.
constexpr double kOwnUseWorth = 2;
/// Shapes of more than this many times the GPUs that do are not looked at.
constexpr int kSearchBeyond = 4;
/// A share of a GPU is a number of these parts, at most half.
constexpr int kShareParts = 8;
/// On the weights of a model whose architecture is not described.
constexpr double kUndescribedSlack = 1.2;
/// A parameter of a benchmark: bf16 weight and gradient, fp32 master, two states; a fifth for the rest.
constexpr double kBenchBytes = 16 * 1.2;
/// Of a worker, before it reads weights.
constexpr double kStartSeconds = 30;
/// GPUs below this take shorter forward steps.
constexpr double kSmallGpu = 16 * kGiB;
constexpr std::size_t kOthersKept = 6;
constexpr std::size_t kRefusedKept = 10;

constexpr double kTypicalPrompt = 1024;  // tokens of the batch of work that layouts are compared by
constexpr double kTypicalAnswer = 128;

std::int64_t real_to_int(double value) {
  return value > 0 ? static_cast<std::int64_t>(std::min(value, 1e12)) : 0;  // NaN is 0 too
}

std::int64_t bucket(std::int64_t tokens, std::int64_t context) {
  const auto at = std::lower_bound(kTokenBuckets.begin(), kTokenBuckets.end(), tokens);
  const std::int64_t rounded = at == kTokenBuckets.end() ? kTokenBuckets.back() : *at;
  return context > 0 ? std::min(rounded, context) : rounded;
}

std::int64_t longest_sequence(const Task& task, const Model& model, const matrix::Settings& settings) {
  const double shots = static_cast<double>(settings.integer("shots").value_or(task.shots));
  double tokens = kLongestOverMean * std::max(0.0, task.prompt_tokens) + std::max(0.0, shots * task.shot_tokens);
  if (model.vision) tokens += kLongestOverMean * std::max(0.0, task.images) * model.vision->tokens_per_image;
  if (const auto prefix = settings.text("prefix")) tokens += static_cast<double>(prefix->size()) / kBytesPerToken;
  if (task.kind == TaskKind::kMultipleChoice)
    tokens += kLongestOverMean * std::max(1.0, task.choice_tokens);
  else
    tokens += static_cast<double>(settings.integer("max_tokens")
                                      .value_or(task.max_output_tokens > 0
                                                    ? task.max_output_tokens
                                                    : real_to_int(kLongestOverMean * task.output_tokens)));
  std::int64_t whole = real_to_int(std::ceil(tokens));
  if (const auto context = settings.integer("context"); context && *context > 0) whole = std::min(whole, *context);
  return std::max<std::int64_t>(1, whole);
}

/// A legal layout on a shape, with the batch that fits it.
struct Candidate {
  Placement placement;
  double seconds = 0;        ///< of one sequence of a typical batch, or of one optimiser step
  double sequence_rate = 0;  ///< tokens/s of each sequence; of training 0
  int use = 1;               ///< use_rank
  bool cramped = false;
  std::string cramped_why;
  double cost() const { return placement.gpus * placement.share; }
};

/// What kept a layout from fitting.
struct Lack {
  Layout layout;
  double needs = 0;    ///< bytes of the fullest GPU, at the least batch
  double allowed = 0;  ///< bytes of a GPU that may be used
};

/// The layouts of one shape.
struct Evaluated {
  std::vector<Candidate> fitting;  ///< fastest first
  std::optional<Lack> nearest;     ///< of those that do not fit, the one that lacks least
  std::vector<std::string> illegal;
};

struct Limits {
  double high = 0;
  double most = 0;
};

Limits limits_of(const policy::Planning& planning) {
  const auto in_range = [](double value, double otherwise) { return value > 0 && value <= 1 ? value : otherwise; };
  const double most = in_range(planning.memory_most, 0.9);
  return {std::min(most, in_range(planning.memory_high, 0.85)), most};
}

std::string percent(double share) { return format_fixed(share * 100, 0) + " %"; }
std::string times(double factor) { return "est. " + format_fixed(factor, 2) + " × the time"; }

/// Sizes one need; the parts of size() share what it holds.
class Sizer {
 public:
  Sizer(const Need& need, const Site& site)
      : need_(need),
        site_(site),
        model_(need.model < site.catalog.models.size() ? &site.catalog.models[need.model] : nullptr),
        limits_(limits_of(site.policy.planning)),
        fastest_(site.policy.planning.prefer == policy::Planning::Prefer::kFastest) {}

  Result<Sizing> run();

 private:
  const Profile& profile(const Placement& p) const { return site_.catalog.profiles[p.profile]; }
  const Partition& partition(const Placement& p) const { return site_.cluster.partitions[p.partition]; }
  const Gpu& gpu(const Placement& p) const { return *site_.catalog.gpus.find(partition(p).gpu); }
  const Gpu& gpu(const Shape& shape) const {
    return *site_.catalog.gpus.find(site_.cluster.partitions[shape.partition].gpu);
  }
  std::string label(const Placement& p) const;
  std::string what() const;
  std::string suggestion(const Gpu& gpu) const;
  std::string above_target(const Placement& p) const;
  bool several_partitions() const { return site_.cluster.partitions.size() > 1; }

  void refuse(std::string sentence);
  double load_seconds(const Placement& p) const;
  void set_share(Placement& placement, const Gpu& gpu, double bytes) const;

  MemoryUse memory(const Layout& layout, std::int64_t batch, bool checkpointing, const Gpu& gpu) const;
  bool fit_inference(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const;
  bool fit_training(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const;
  void estimate(Candidate& candidate, const Costs& costs) const;
  Evaluated evaluate(const Shape& shape, const Costs& costs) const;

  Result<Sizing> run_decoder();
  Result<Sizing> run_declared();
  Result<Sizing> nothing_fits() const;
  void explain(Sizing& sizing, const Candidate& chosen, const Evaluated& on_shape) const;

  const Need& need_;
  const Site& site_;
  const Model* model_;
  Limits limits_;
  bool fastest_;
  std::vector<std::string> refused_;
  std::optional<Lack> miss_;  ///< of the largest shape tried
  std::optional<Shape> miss_shape_;
};

void Sizer::refuse(std::string sentence) {
  if (refused_.size() >= kRefusedKept) return;
  if (std::find(refused_.begin(), refused_.end(), sentence) == refused_.end()) refused_.push_back(std::move(sentence));
}

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

double Sizer::load_seconds(const Placement& p) const {
  const double bandwidth = partition(p).load_bandwidth > 0 ? partition(p).load_bandwidth : kPlainLoad;
  const double bytes = model_ ? weight_bytes(*model_, need_.dtype) : 0;
  const double seconds = kStartSeconds + bytes / (std::max(1, p.nodes) * bandwidth);
  return std::isfinite(seconds) ? seconds : kStartSeconds;
}

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
  if (found.first < kLeastBatch) {
    // Rather above the target than without a batch, but no more than that takes.
    const MemoryUse use = memory(placement.layout, kLeastBatch, false, gpu);
    found = use.total() <= most ? std::pair{kLeastBatch, use} : largest(most);
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

std::string Sizer::above_target(const Placement& p) const {
  return "each GPU is filled to " + percent(p.memory.total() / gpu(p).memory) + ", above the target of " +
         percent(limits_.high);
}

void Sizer::estimate(Candidate& candidate, const Costs& costs) const {
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
    if (need_.batch == 0 && p.batch < kLeastBatch) {
      candidate.cramped = true;
      candidate.cramped_why =
          "there is room for only " + counted(p.batch, "sequence") + " of " + grouped(need_.tokens) + " tokens at once";
    } else if (candidate.sequence_rate < kLeastRate) {
      candidate.cramped = true;
      candidate.cramped_why =
          "a sequence would get about " + format_fixed(candidate.sequence_rate, 1) + " tokens/s, below 10";
    } else if (need_.batch == 0 && p.memory.total() > limits_.high * gpu(p).memory) {
      candidate.cramped = true;
      candidate.cramped_why = above_target(p);
    }
  }
  if (p.share < 1) candidate.seconds /= p.share;
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
    reasons.push_back(
        p.checkpointing
            ? "activations are computed again in the backward pass (checkpointing): they do not fit otherwise"
            : "activations are kept: memory allows it");
    std::vector<std::string> hardware = hardware_choice(card).reasons;
    if (need_.dtype == DType::kFp16)
      hardware[0] = "fp16, as the model is stored or the settings ask: the loss is scaled dynamically";
    else if (need_.dtype == DType::kFp32)
      hardware[0] = "fp32, as the settings ask";
    reasons.insert(reasons.end(), hardware.begin(), hardware.end());
  } else if (need_.batch > 0) {
    reasons.push_back("batch " + std::to_string(p.batch) + " as the settings ask");
  } else if (p.batch == kUsefulBatch) {
    reasons.push_back("batch 256: more at once would add little, so " + percent(p.utilisation) +
                      " of the memory is enough");
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

Result<Sizing> Sizer::run_decoder() {
  const Shapes shapes = shapes_of(site_);
  const Costs costs = costs_of(*model_, need_.dtype, need_.kv);
  const double weights = weight_bytes(*model_, need_.dtype);

  // Profiles of one size on one partition differ in name and use alone: their layouts are worked out once.
  struct Group {
    std::uint32_t partition;
    int nodes, gpus_per_node;
    Evaluated evaluated;
  };
  std::vector<Group> groups;
  struct Best {
    Candidate candidate;
    std::size_t group;
  };
  std::vector<Best> bests;
  int comfortable = 0;  // GPUs of the smallest shape that does
  double most_memory = 0;
  for (const Shape& shape : shapes.usable) {
    const Profile& its = site_.catalog.profiles[shape.profile];
    const Gpu& card = gpu(shape);
    const int use = use_rank(its, *model_);
    if (need_.gpus > 0 && its.gpus() != need_.gpus) continue;
    if (need_.nodes > 0 && its.nodes != need_.nodes) continue;
    if (comfortable > 0 && !fastest_ && its.gpus() > kSearchBeyond * comfortable) continue;
    if (const auto why = why_not_computed(card, need_.compute)) {
      refuse("partition " + shown(site_.cluster.partitions[shape.partition].name) + ": " + *why);
      continue;
    }
    auto at = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group.partition == shape.partition && group.nodes == its.nodes && group.gpus_per_node == its.gpus_per_node;
    });
    if (at == groups.end()) {
      groups.push_back({shape.partition, its.nodes, its.gpus_per_node, {}});
      at = std::prev(groups.end());
      if (weights / its.gpus() > card.memory)
        at->evaluated.nearest = Lack{{1, 1, 1}, 0, limits_.most * card.memory};  // filled in below
      else
        at->evaluated = evaluate(shape, costs);
      Evaluated& result = at->evaluated;
      for (const std::string& why : result.illegal) refuse(shown(its.name) + ": " + why);
      if (result.fitting.empty() && result.nearest && result.nearest->needs == 0) {
        // Too large by its weights alone: the most divided legal layout says how much is lacking.
        for (const Layout& layout : layouts_for(*model_, its.gpus(), its.gpus_per_node).legal) {
          if (layout.dp != 1) continue;
          result.nearest->layout = layout;
          result.nearest->needs = memory(layout, 1, true, card).total();
          break;
        }
        if (result.nearest->needs == 0) result.nearest.reset();
      }
      if (result.fitting.empty() && result.nearest)
        refuse(shown(its.name) + ": " + to_string(result.nearest->layout) + " needs " +
               format_bytes(result.nearest->needs) + " of a GPU, " + format_bytes(result.nearest->allowed) + " of " +
               format_bytes(card.memory) + " may be used");
    }
    Evaluated& result = at->evaluated;
    if (result.fitting.empty()) {
      const double all = its.gpus() * card.memory;
      if (result.nearest && use < 2 && all > most_memory) {
        most_memory = all;
        miss_ = result.nearest;
        miss_shape_ = shape;
      }
      continue;
    }
    Candidate best = result.fitting.front();
    best.placement.profile = shape.profile;
    best.use = use;
    if (use < 2 && !best.cramped && (comfortable == 0 || its.gpus() < comfortable)) comfortable = its.gpus();
    bests.push_back({std::move(best), static_cast<std::size_t>(at - groups.begin())});
  }
  for (const std::string& why : shapes.refused) refuse(why);

  std::stable_sort(bests.begin(), bests.end(), [](const Best& a, const Best& b) {
    return std::tuple(a.candidate.cost(), a.candidate.use, a.candidate.seconds) <
           std::tuple(b.candidate.cost(), b.candidate.use, b.candidate.seconds);
  });
  const bool any_use = need_.gpus > 0;
  const auto eligible = [&](const Best& best) { return any_use || best.candidate.use < 2; };
  std::size_t chosen = bests.size();
  for (std::size_t i = 0; i < bests.size(); ++i) {
    if (!eligible(bests[i])) continue;
    chosen = i;
    break;
  }
  if (chosen == bests.size()) {
    if (!bests.empty() && !miss_)
      return Error{what() + " fits only " + label(bests.front().candidate.placement) +
                   ", a profile for another kind of model; a profile of that size with `use: any` would hold it"};
    return nothing_fits();
  }

  std::vector<std::string> steps;
  const auto efficiency = [&](std::size_t i) { return 1 / (bests[i].candidate.seconds * bests[i].candidate.cost()); };
  for (std::size_t i = chosen + 1; i < bests.size() && bests[chosen].candidate.cramped; ++i) {
    if (!eligible(bests[i]) || bests[i].candidate.cost() <= bests[chosen].candidate.cost()) continue;
    const double gain = efficiency(i) / efficiency(chosen);
    if (!(gain >= kEfficiencyWorth)) continue;
    steps.push_back(label(bests[chosen].candidate.placement) + " with " +
                    counted(bests[chosen].candidate.placement.gpus, "GPU") + " would do, but " +
                    bests[chosen].candidate.cramped_why + "; " + label(bests[i].candidate.placement) +
                    " uses each GPU " + format_fixed(gain, 1) + " × as well");
    chosen = i;
  }
  if (bests[chosen].candidate.use == 1) {
    for (std::size_t i = chosen + 1; i < bests.size(); ++i) {
      const Candidate& own = bests[i].candidate;
      if (own.use != 0 || own.cramped || own.placement.gpus >= kOwnUseWorth * bests[chosen].candidate.placement.gpus)
        continue;
      steps.push_back(label(own.placement) + " is made for this kind of model (" +
                      (model_->is_moe() ? "mixture of experts" : "vision and language") +
                      ") and has fewer than twice the GPUs of " + label(bests[chosen].candidate.placement) +
                      ", which would do");
      chosen = i;
      break;
    }
  }
  if (fastest_ && need_.gpus == 0) {
    for (std::size_t i = 0; i < bests.size(); ++i) {
      const Candidate& now = bests[chosen].candidate;
      const Candidate& next = bests[i].candidate;
      if (!eligible(bests[i]) || next.placement.gpus < now.placement.gpus) continue;
      if (next.placement.nodes > std::max(1, now.placement.nodes)) continue;
      const double speedup = now.seconds / next.seconds;
      const double doublings = std::log2(static_cast<double>(next.placement.gpus) / now.placement.gpus);
      if (!(speedup > 1) || !(speedup >= std::pow(1 + std::max(0.0, site_.policy.planning.speedup_worth), doublings)))
        continue;
      steps.push_back("the policy prefers speed: " + label(next.placement) + " is " + format_fixed(speedup, 2) +
                      " × as fast as " + label(now.placement));
      chosen = i;
    }
  }

  Sizing sizing;
  const Best& taken = bests[chosen];
  sizing.chosen = taken.candidate.placement;
  sizing.chosen.load_seconds = load_seconds(sizing.chosen);
  explain(sizing, taken.candidate, groups[taken.group].evaluated);
  sizing.reasons.insert(sizing.reasons.end(), steps.begin(), steps.end());

  const auto add = [&](const Candidate& candidate, std::string why) {
    if (sizing.others.size() >= kOthersKept) return;
    RunnerUp other{candidate.placement, std::move(why)};
    other.placement.relative_time = candidate.seconds / taken.candidate.seconds;
    other.placement.load_seconds = load_seconds(other.placement);
    sizing.others.push_back(std::move(other));
  };
  const auto& same = groups[taken.group].evaluated.fitting;
  for (std::size_t i = 1; i < same.size() && i <= 2; ++i) {
    Candidate candidate = same[i];
    candidate.placement.profile = sizing.chosen.profile;
    add(candidate, times(candidate.seconds / taken.candidate.seconds) + " of " + to_string(sizing.chosen.layout) +
                       " on the same GPUs");
  }
  for (std::size_t i = 0; i < bests.size(); ++i) {
    if (i == chosen) continue;
    const Candidate& candidate = bests[i].candidate;
    const std::string time = times(candidate.seconds / taken.candidate.seconds) + " of " +
                             to_string(sizing.chosen.layout) + " on " + counted(sizing.chosen.gpus, "GPU");
    std::string why;
    if (!eligible(bests[i]) && bests[i].group == taken.group)
      continue;  // the same places under a name that is not for it
    if (!eligible(bests[i]))
      why = "made for another kind of model; " + time;
    else if (candidate.cost() < taken.candidate.cost() && candidate.cramped)
      why = candidate.cramped_why + "; " + time;
    else if (candidate.placement.gpus > sizing.chosen.gpus)
      why = counted(candidate.placement.gpus, "GPU") + " where " + std::to_string(sizing.chosen.gpus) +
            (sizing.chosen.gpus == 1 ? " does; " : " do; ") + time;
    else if (candidate.use > taken.candidate.use && candidate.placement.gpus == sizing.chosen.gpus)
      why = label(sizing.chosen) + " is made for this kind of model; " + time;
    else
      why = time;
    add(candidate, std::move(why));
  }
  sizing.refused = std::move(refused_);
  return sizing;
}

// Commands, benchmarks and models whose architecture is not described: by declared or estimated memory, no layout to
// choose.
Result<Sizing> Sizer::run_declared() {
  const Shapes shapes = shapes_of(site_);
  const bool bench = need_.kind == matrix::CellKind::kBench;
  const bool whole = model_ && need_.gpu_memory == 0;
  double total = 0;
  if (whole) {
    TrainShape training;
    training.weights = need_.dtype;
    training.full = need_.full;
    training.rank = need_.rank;
    training.ema = need_.ema;
    if (need_.kind == matrix::CellKind::kTrain && !model_->decoder)
      total = training_memory(*model_, {}, training).total();
    else
      total = weight_bytes(*model_, need_.dtype) * kUndescribedSlack;
  }
  const int wanted = need_.gpus > 0 ? need_.gpus : 0;
  double most_memory = 0;
  std::string miss;
  std::optional<Placement> chosen;
  for (const Shape& shape : shapes.usable) {
    const Profile& its = site_.catalog.profiles[shape.profile];
    const Partition& where = site_.cluster.partitions[shape.partition];
    const Gpu& card = gpu(shape);
    if (its.use != ProfileUse::kAny && wanted == 0) continue;
    if (need_.nodes > 0 && its.nodes != need_.nodes) continue;
    const int gpus = wanted > 0 ? wanted : its.gpus();
    if (gpus > its.gpus() || gpus % its.nodes != 0) continue;
    if (bench || model_) {
      if (const auto why = why_not_computed(card, need_.compute)) {
        refuse("partition " + shown(where.name) + ": " + *why);
        continue;
      }
    }
    const double needs = need_.gpu_memory > 0 ? static_cast<double>(need_.gpu_memory) : total / gpus;
    const double allowed = limits_.most * card.memory;
    if (needs > allowed) {
      if (gpus * card.memory > most_memory) {
        most_memory = gpus * card.memory;
        miss = shown(its.name) + " on " + shown(where.name) + " (" + counted(gpus, "GPU") + " of " +
               format_bytes(card.memory) + "): needs " + format_bytes(needs) + " of each, " +
               format_bytes(needs - allowed) + " more than may be used";
      }
      refuse(shown(its.name) + ": needs " + format_bytes(needs) + " of a GPU, " + format_bytes(allowed) +
             " may be used");
      continue;
    }
    Placement p;
    p.profile = shape.profile;
    p.partition = shape.partition;
    p.nodes = its.nodes;
    p.gpus = gpus;
    // How a program of one's own cuts its model is its own affair, and no layout of ours would be known to be legal:
    // each GPU is counted as a place of its own.
    p.layout = Layout{1, 1, gpus};
    p.memory.weights = needs;
    p.utilisation = needs / card.memory;
    if (!bench && gpus == 1 && where.shares_gpus && needs > 0) {
      // What programs declare fills a GPU to what may be used of it; an estimate gets the target's slack on top.
      if (need_.gpu_memory > 0) {
        const double parts = std::ceil(kShareParts * needs / allowed - 1e-9);
        if (parts <= kShareParts / 2) p.share = std::max(1.0, parts) / kShareParts;
      } else {
        set_share(p, card, needs);
      }
    }
    p.load_seconds = load_seconds(p);
    if (!chosen || p.gpus * p.share < chosen->gpus * chosen->share ||
        (p.gpus == chosen->gpus && p.share == chosen->share && profile(p).gpus() < profile(*chosen).gpus()))
      chosen = p;
    if (need_.kind == matrix::CellKind::kTrain) chosen->batch = std::max<std::int64_t>(1, need_.micro_batch);
  }
  for (const std::string& why : shapes.refused) refuse(why);
  if (!chosen) {
    const std::string asked =
        wanted > 0 ? counted(wanted, "GPU") + (need_.nodes > 0 ? " on " + counted(need_.nodes, "node") : "") : "";
    if (!miss.empty()) return Error{what() + " fits no profile: the largest shape that was tried, " + miss};
    std::string text = asked.empty() ? "no profile can run " + what() : "no profile here has " + asked;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, refused_.size()); ++i)
      text += (i == 0 ? ": " : "; ") + refused_[i];
    return Error{text};
  }
  Sizing sizing;
  sizing.chosen = *chosen;
  const std::string gpus = counted(chosen->gpus, "GPU") + " of " + shown(gpu(*chosen).name);
  if (wanted > 0)
    sizing.reasons.push_back(gpus + ", as asked for; " + label(*chosen) + " is the smallest profile that has them");
  else if (whole)
    sizing.reasons.push_back(what() + " needs about " + format_bytes(total) +
                             (model_->decoder ? "" : " (its architecture is not described)") + ": " + label(*chosen) +
                             ", " + gpus + ", is the smallest profile that holds it");
  else
    sizing.reasons.push_back(label(*chosen) + ", " + gpus + ": the smallest profile that does");
  if (need_.gpu_memory > 0 && !bench)
    sizing.reasons.push_back(format_bytes(static_cast<double>(need_.gpu_memory)) + " of GPU memory are declared" +
                             (chosen->share < 1
                                  ? ": " + std::to_string(static_cast<int>(std::lround(chosen->share * kShareParts))) +
                                        "/8 of a GPU, others may have the rest"
                                  : ""));
  sizing.refused = std::move(refused_);
  return sizing;
}

Result<Sizing> Sizer::run() {
  const bool own = need_.kind == matrix::CellKind::kEval || need_.kind == matrix::CellKind::kTrain;
  if (own && !model_) return Error{"a job without a model can only be a command or a benchmark"};
  return own && model_->decoder ? run_decoder() : run_declared();
}

}  // namespace

Need need_of(const matrix::Cell& cell, const matrix::Expansion& expansion, const Catalog& catalog) {
  Need need;
  need.kind = cell.kind;
  need.model = cell.model;
  const Model* model = cell.model < catalog.models.size() ? &catalog.models[cell.model] : nullptr;
  const Task* task = cell.task < catalog.tasks.size() ? &catalog.tasks[cell.task] : nullptr;
  static const matrix::Settings kNoSettings;
  const matrix::Settings& settings =
      cell.settings < expansion.settings.size() ? expansion.settings[cell.settings] : kNoSettings;

  if (model) {
    need.engine = model->engines.empty() ? Engine::kNative : model->engines.front();
    need.dtype = model->dtype == DType::kFp32 ? DType::kBf16 : model->dtype;
  }
  if (const auto name = settings.text("engine"))
    if (const auto engine = engine_named(*name)) need.engine = *engine;
  // What the stage's command runs is its own program.
  if (need.engine == Engine::kCommand) need.command_stage = cell.stage;
  need.dtype = settings.dtype("dtype").value_or(need.dtype);
  need.compute = settings.dtype("compute_dtype").value_or(bytes_of(need.dtype) < 2 ? DType::kBf16 : need.dtype);
  need.kv = settings.dtype("kv_dtype").value_or(DType::kBf16);

  const auto gpus = static_cast<int>(std::clamp<std::int64_t>(settings.integer("gpus").value_or(0), 0, 1 << 20));
  const auto nodes = static_cast<int>(std::clamp<std::int64_t>(settings.integer("nodes").value_or(0), 0, 1 << 20));
  switch (cell.kind) {
    case matrix::CellKind::kEval:
      need.batch = std::max<std::int64_t>(0, settings.integer("batch").value_or(0));
      if (model && model->decoder && task)
        need.tokens = bucket(longest_sequence(*task, *model, settings), model->context);
      if (cell.depends < expansion.cells.size()) {
        const std::uint32_t trained = expansion.cells[cell.depends].settings;
        const matrix::Settings& training =
            trained < expansion.settings.size() ? expansion.settings[trained] : kNoSettings;
        if (training.truth("full").value_or(false))
          need.weights_of = cell.depends;
        else
          need.rank = std::max<std::int64_t>(0, training.integer("rank").value_or(0));
      }
      break;
    case matrix::CellKind::kTrain:
      need.full = settings.truth("full").value_or(false);
      need.rank = need.full ? 0 : std::max<std::int64_t>(0, settings.integer("rank").value_or(16));
      need.sequence =
          model && model->decoder ? std::max<std::int64_t>(1, settings.integer("sequence").value_or(2048)) : 0;
      need.micro_batch = std::max<std::int64_t>(0, settings.integer("micro_batch").value_or(0));
      need.global_batch = std::clamp<std::int64_t>(settings.integer("batch_size").value_or(1), 1, 1 << 20) *
                          std::clamp<std::int64_t>(settings.integer("accumulation").value_or(1), 1, 1 << 20);
      need.reference = task && (task->type == "dpo" || task->type == "grpo");
      need.ema = settings.number("ema_decay").value_or(0) > 0;
      break;
    case matrix::CellKind::kBench:
      need.gpus = std::max(1, gpus);
      need.nodes = nodes;
      if (task && task->bench)
        need.gpu_memory = real_to_int(std::ceil(task->bench->params * kBenchBytes / kGiB) * kGiB);
      break;
    case matrix::CellKind::kCommand:
      need.gpus = gpus > 0 || model ? gpus : 1;
      need.nodes = nodes;
      need.gpu_memory = std::max<std::int64_t>(0, settings.integer("memory").value_or(0));
      need.command_stage = cell.stage;
      break;
  }
  return need;
}

Result<Sizing> size(const Need& need, const Site& site) { return Sizer(need, site).run(); }

}  // namespace orch::planner
