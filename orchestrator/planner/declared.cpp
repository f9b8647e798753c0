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

}  // namespace

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

}  // namespace orch::planner
