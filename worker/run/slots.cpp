#include "run/slots.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orch::worker {
namespace {

constexpr double kEpsilon = 1e-6;

}  // namespace

Slots::Slots(std::vector<std::string> gpus, int cpus, std::int64_t memory)
    : cpus_(cpus), memory_(memory > 0 ? memory : std::numeric_limits<std::int64_t>::max()) {
  for (std::string& name : gpus) gpus_.push_back({std::move(name), 1});
}

std::optional<std::vector<std::string>> Slots::take(std::uint64_t ticket, double gpus, int cpus, std::int64_t memory,
                                                    const std::vector<std::string>& preferred) {
  if (cpus > cpus_ || memory > memory_) return std::nullopt;
  Taken taken{{}, 1, cpus, memory};
  if (gpus > 0 && gpus < 1) {
    taken.part = gpus;
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < gpus_.size(); ++i)
      if (gpus_[i].free + kEpsilon >= gpus && (!best || gpus_[i].free < gpus_[*best].free)) best = i;
    if (!best) return std::nullopt;
    taken.gpus.push_back(*best);
  } else {
    const auto wanted = static_cast<std::size_t>(std::ceil(gpus - kEpsilon));
    for (const bool is_preferred : {true, false})
      for (std::size_t i = 0; i < gpus_.size() && taken.gpus.size() < wanted; ++i)
        if (gpus_[i].free > 1 - kEpsilon &&
            (std::ranges::find(preferred, gpus_[i].name) != preferred.end()) == is_preferred)
          taken.gpus.push_back(i);
    if (taken.gpus.size() < wanted) return std::nullopt;
    std::ranges::sort(taken.gpus);
  }
  std::vector<std::string> names;
  for (const std::size_t i : taken.gpus) {
    gpus_[i].free -= taken.part;
    names.push_back(gpus_[i].name);
  }
  cpus_ -= cpus;
  memory_ -= memory;
  taken_[ticket] = std::move(taken);
  return names;
}

void Slots::give_back(std::uint64_t ticket) {
  const auto at = taken_.find(ticket);
  if (at == taken_.end()) return;
  for (const std::size_t i : at->second.gpus) gpus_[i].free = std::min(1.0, gpus_[i].free + at->second.part);
  cpus_ += at->second.cpus;
  memory_ += at->second.memory;
  taken_.erase(at);
}

}  // namespace orch::worker
