// Places for commands, benchmarks and models whose architecture is not described: by declared or estimated memory, no
// layout to choose.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizer.h"

namespace orch::planner {
namespace {

/// On the weights of a model whose architecture is not described.
constexpr double kUndescribedSlack = 1.2;

/// `3/8`
std::string parts_text(const Placement& placement) {
  return std::to_string(static_cast<int>(std::lround(placement.share * kShareParts))) + "/" +
         std::to_string(kShareParts);
}

}  // namespace

double Sizer::host_part(const Shape& shape, double gpus) const {
  const Partition& where = site_.cluster.partitions[shape.partition];
  const double share = gpus / std::max(1, where.gpus_per_node);
  double part = 0;
  if (where.cpus_per_node > 0) part = need_.cpus / (share * where.cpus_per_node);
  if (where.memory_per_node > 0)
    part = std::max(part, static_cast<double>(need_.memory) / (share * where.memory_per_node));
  return part;
}

/// Why no node of the partition has the CPUs or the memory that are declared; nothing if one does.
std::optional<std::string> Sizer::why_not_host(const Shape& shape) const {
  const Partition& where = site_.cluster.partitions[shape.partition];
  if (where.cpus_per_node > 0 && need_.cpus > where.cpus_per_node)
    return "partition " + shown(where.name) + ": " + counted(need_.cpus, "CPU") + " of a node, it has " +
           std::to_string(where.cpus_per_node);
  if (where.memory_per_node > 0 && static_cast<double>(need_.memory) > where.memory_per_node)
    return "partition " + shown(where.name) + ": " + format_bytes(static_cast<double>(need_.memory)) +
           " of host memory, a node has " + format_bytes(where.memory_per_node);
  return std::nullopt;
}

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
    if (const auto why = why_not_host(shape)) {
      refuse(*why);
      continue;
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
    const double of_memory = std::ceil(kShareParts * needs / allowed - 1e-9);
    if (need_.gpu_parts > 0) {
      // Who asks for a part of a GPU means to share it, wherever that is; what is known of its memory counts too.
      p.share = std::min(1.0, std::max<double>(need_.gpu_parts, of_memory) / kShareParts);
    } else if (!bench && gpus == 1 && where.shares_gpus && needs > 0) {
      // What programs declare fills a GPU to what may be used of it; an estimate gets the target's slack on top.
      if (need_.gpu_memory == 0)
        set_share(p, card, needs);
      else if (of_memory <= kShareParts / 2)
        p.share = std::max(1.0, of_memory) / kShareParts;
    }
    p.cpus = need_.cpus;
    p.host_memory = static_cast<double>(need_.memory);
    // What shares a node is packed by its GPUs: who takes more of the host than they stand for takes more of a shared
    // GPU, or has nothing beside it.
    const double host = host_part(shape, 1.0 * gpus / its.nodes);
    if (p.share < 1 && host > p.share) p.share = std::min(1.0, std::ceil(kShareParts * host - 1e-9) / kShareParts);
    p.alone = host > 1 + 1e-9;
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
  if (need_.gpu_parts > 0)
    sizing.reasons.push_back(label(*chosen) + ", one GPU of " + shown(gpu(*chosen).name) + ": " +
                             (chosen->share < 1 ? parts_text(*chosen) + " of it, others may have the rest"
                                                : "its memory, CPUs or host memory take the whole of it"));
  else if (wanted > 0)
    sizing.reasons.push_back(gpus + ", as asked for; " + label(*chosen) + " is the smallest profile that has them");
  else if (whole)
    sizing.reasons.push_back(what() + " needs about " + format_bytes(total) +
                             (model_->decoder ? "" : " (its architecture is not described)") + ": " + label(*chosen) +
                             ", " + gpus + ", is the smallest profile that holds it");
  else
    sizing.reasons.push_back(label(*chosen) + ", " + gpus + ": the smallest profile that does");
  if (need_.gpu_memory > 0 && !bench)
    sizing.reasons.push_back(format_bytes(static_cast<double>(need_.gpu_memory)) + " of GPU memory are declared" +
                             (chosen->share < 1 && need_.gpu_parts == 0
                                  ? ": " + parts_text(*chosen) + " of a GPU, others may have the rest"
                                  : ""));
  if (chosen->alone)
    sizing.reasons.push_back(
        "it takes more CPUs or host memory than its GPUs' part of the node: nothing runs beside it");
  sizing.refused = std::move(refused_);
  return sizing;
}

}  // namespace orch::planner
