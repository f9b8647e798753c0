// Which of the places that hold a model is taken, and what the others lost by.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "planner/sizer.h"

namespace orch::planner {
namespace {

/// Shapes of more than this many times the GPUs that do are not looked at.
constexpr int kSearchBeyond = 4;
constexpr std::size_t kOthersKept = 6;

}  // namespace

/// The layouts of a shape; of one that is like an earlier one, the earlier's.
Evaluated& Sizer::evaluated(const Shape& shape, const Costs& costs, std::size_t& index) {
  const Profile& its = site_.catalog.profiles[shape.profile];
  const Gpu& card = gpu(shape);
  const auto at = std::find_if(alike_.begin(), alike_.end(), [&](const Alike& alike) {
    return alike.partition == shape.partition && alike.nodes == its.nodes && alike.gpus_per_node == its.gpus_per_node;
  });
  index = static_cast<std::size_t>(at - alike_.begin());
  if (at != alike_.end()) return at->evaluated;
  alike_.push_back({shape.partition, its.nodes, its.gpus_per_node, {}});
  Evaluated& result = alike_.back().evaluated;
  if (weight_bytes(*model_, need_.dtype) / its.gpus() > card.memory) {
    // Too large by its weights alone: the most divided legal layout says how much is lacking.
    for (const Layout& layout : layouts_for(*model_, its.gpus(), its.gpus_per_node).legal) {
      if (layout.dp != 1 || why_not_trained(layout)) continue;
      result.nearest = Lack{layout, memory(layout, 1, true, card).total(), limits_.most * card.memory};
      break;
    }
  } else {
    result = evaluate(shape, costs);
  }
  for (const std::string& why : result.illegal) refuse(shown(its.name) + ": " + why);
  if (result.fitting.empty() && result.nearest)
    refuse(shown(its.name) + ": " + to_string(result.nearest->layout) + " needs " +
           format_bytes(result.nearest->needs) + " of a GPU, " + format_bytes(result.nearest->allowed) + " of " +
           format_bytes(card.memory) + " may be used");
  return result;
}

void Sizer::try_shape(const Shape& shape, const Costs& costs) {
  const Profile& its = site_.catalog.profiles[shape.profile];
  const int use = use_rank(its, *model_);
  if (need_.gpus > 0 && its.gpus() != need_.gpus) return;
  if (need_.nodes > 0 && its.nodes != need_.nodes) return;
  if (comfortable_ > 0 && !fastest_ && its.gpus() > kSearchBeyond * comfortable_) return;
  if (const auto why = why_not_computed(gpu(shape), need_.compute))
    return refuse("partition " + shown(site_.cluster.partitions[shape.partition].name) + ": " + *why);
  std::size_t index = 0;
  const Evaluated& result = evaluated(shape, costs, index);
  if (result.fitting.empty()) {
    const double all = its.gpus() * gpu(shape).memory;
    if (result.nearest && use < 2 && all > most_memory_) {
      most_memory_ = all;
      miss_ = result.nearest;
      miss_shape_ = shape;
    }
    return;
  }
  Candidate best = result.fitting.front();
  best.placement.profile = shape.profile;
  best.use = use;
  if (use < 2 && !best.cramped && (comfortable_ == 0 || its.gpus() < comfortable_)) comfortable_ = its.gpus();
  bests_.push_back({std::move(best), index});
}

std::size_t Sizer::choose(std::size_t cheapest, std::vector<std::string>& steps) const {
  const policy::Planning& planning = site_.policy.planning;
  std::size_t chosen = cheapest;
  const auto efficiency = [&](std::size_t i) { return 1 / (bests_[i].candidate.seconds * bests_[i].candidate.cost()); };
  for (std::size_t i = chosen + 1; i < bests_.size() && bests_[chosen].candidate.cramped; ++i) {
    if (!eligible(bests_[i]) || bests_[i].candidate.cost() <= bests_[chosen].candidate.cost()) continue;
    const double gain = efficiency(i) / efficiency(chosen);
    if (!(gain >= planning.efficiency_worth)) continue;
    steps.push_back(label(bests_[chosen].candidate.placement) + " with " +
                    counted(bests_[chosen].candidate.placement.gpus, "GPU") + " would do, but " +
                    bests_[chosen].candidate.cramped_why + "; " + label(bests_[i].candidate.placement) +
                    " uses each GPU " + format_fixed(gain, 1) + " × as well");
    chosen = i;
  }
  if (bests_[chosen].candidate.use == 1) {
    for (std::size_t i = chosen + 1; i < bests_.size(); ++i) {
      const Candidate& own = bests_[i].candidate;
      if (own.use != 0 || own.cramped ||
          own.placement.gpus >= planning.own_use_worth * bests_[chosen].candidate.placement.gpus)
        continue;
      steps.push_back(label(own.placement) + " is made for this kind of model (" +
                      (model_->is_moe() ? "mixture of experts" : "vision and language") + ") and has fewer than " +
                      plain(planning.own_use_worth) + " × the GPUs of " + label(bests_[chosen].candidate.placement) +
                      ", which would do");
      chosen = i;
      break;
    }
  }
  if (fastest_ && need_.gpus == 0) {
    for (std::size_t i = 0; i < bests_.size(); ++i) {
      const Candidate& now = bests_[chosen].candidate;
      const Candidate& next = bests_[i].candidate;
      if (!eligible(bests_[i]) || next.placement.gpus < now.placement.gpus) continue;
      if (next.placement.nodes > std::max(1, now.placement.nodes)) continue;
      const double speedup = now.seconds / next.seconds;
      const double doublings = std::log2(static_cast<double>(next.placement.gpus) / now.placement.gpus);
      if (!(speedup > 1) || !(speedup >= std::pow(1 + std::max(0.0, planning.speedup_worth), doublings))) continue;
      steps.push_back("the policy prefers speed: " + label(next.placement) + " is " + format_fixed(speedup, 2) +
                      " × as fast as " + label(now.placement));
      chosen = i;
    }
  }
  return chosen;
}

void Sizer::tell_runners_up(Sizing& sizing, std::size_t chosen) const {
  const Best& taken = bests_[chosen];
  const auto add = [&](const Candidate& candidate, std::string why) {
    if (sizing.others.size() >= kOthersKept) return;
    RunnerUp other{candidate.placement, std::move(why)};
    other.placement.relative_time = candidate.seconds / taken.candidate.seconds;
    other.placement.load_seconds = load_seconds(other.placement);
    sizing.others.push_back(std::move(other));
  };
  const auto& same = alike_[taken.alike].evaluated.fitting;
  for (std::size_t i = 1; i < same.size() && i <= 2; ++i) {
    Candidate candidate = same[i];
    candidate.placement.profile = sizing.chosen.profile;
    add(candidate, times(candidate.seconds / taken.candidate.seconds) + " of " + to_string(sizing.chosen.layout) +
                       " on the same GPUs");
  }
  for (std::size_t i = 0; i < bests_.size(); ++i) {
    if (i == chosen) continue;
    const Candidate& candidate = bests_[i].candidate;
    const std::string time = times(candidate.seconds / taken.candidate.seconds) + " of " +
                             to_string(sizing.chosen.layout) + " on " + counted(sizing.chosen.gpus, "GPU");
    std::string why;
    if (!eligible(bests_[i]) && bests_[i].alike == taken.alike)
      continue;  // the same places under a name that is not for it
    if (!eligible(bests_[i]))
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
}

Result<Sizing> Sizer::run_decoder() {
  const Shapes shapes = shapes_of(site_);
  const Costs costs = costs_of(*model_, need_.dtype, need_.kv);
  for (const Shape& shape : shapes.usable) try_shape(shape, costs);
  for (const std::string& why : shapes.refused) refuse(why);

  std::stable_sort(bests_.begin(), bests_.end(), [](const Best& a, const Best& b) {
    return std::tuple(a.candidate.cost(), a.candidate.use, a.candidate.seconds) <
           std::tuple(b.candidate.cost(), b.candidate.use, b.candidate.seconds);
  });
  const auto cheapest = std::find_if(bests_.begin(), bests_.end(), [&](const Best& best) { return eligible(best); });
  if (cheapest == bests_.end()) {
    if (!bests_.empty() && !miss_)
      return Error{what() + " fits only " + label(bests_.front().candidate.placement) +
                   ", a profile for another kind of model; a profile of that size with `use: any` would hold it"};
    return nothing_fits();
  }

  std::vector<std::string> steps;
  const std::size_t chosen = choose(static_cast<std::size_t>(cheapest - bests_.begin()), steps);
  Sizing sizing;
  const Best& taken = bests_[chosen];
  sizing.chosen = taken.candidate.placement;
  sizing.chosen.load_seconds = load_seconds(sizing.chosen);
  explain(sizing, taken.candidate, alike_[taken.alike].evaluated);
  sizing.reasons.insert(sizing.reasons.end(), steps.begin(), steps.end());
  tell_runners_up(sizing, chosen);
  sizing.refused = std::move(refused_);
  return sizing;
}

}  // namespace orch::planner
