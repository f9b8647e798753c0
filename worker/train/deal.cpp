#include "train/deal.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

namespace orch::train {
namespace {

/// Among equals the order of the batch stays.
Samples longest_first(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths) {
  Samples sorted(samples.begin(), samples.end());
  std::stable_sort(sorted.begin(), sorted.end(), [&](std::int64_t a, std::int64_t b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  return sorted;
}

}  // namespace

std::vector<Samples> deal(std::span<const std::int64_t> batch, std::span<const std::int64_t> lengths, int ranks) {
  std::vector<Samples> dealt(static_cast<std::size_t>(std::max(ranks, 1)));
  using Load = std::tuple<std::int64_t, std::size_t, std::size_t>;  // tokens, samples, rank
  std::set<Load> loads;
  for (std::size_t rank = 0; rank < dealt.size(); ++rank) loads.emplace(0, 0, rank);
  for (const std::int64_t sample : longest_first(batch, lengths)) {
    auto least = loads.extract(loads.begin());
    auto& [tokens, samples, rank] = least.value();
    dealt[rank].push_back(sample);
    tokens += lengths[static_cast<std::size_t>(sample)];
    ++samples;
    loads.insert(std::move(least));
  }
  return dealt;
}

std::vector<Samples> pack(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths,
                          const MicroBatchBounds& bounds) {
  constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max();
  const std::int64_t most_tokens = bounds.tokens > 0 ? bounds.tokens : kEndless;
  const std::size_t most_samples = bounds.samples > 0 ? static_cast<std::size_t>(bounds.samples) : samples.size();
  std::vector<Samples> packed;
  std::set<std::pair<std::int64_t, std::size_t>> open;  // tokens that still go in, and its number
  for (const std::int64_t sample : longest_first(samples, lengths)) {
    const std::int64_t length = lengths[static_cast<std::size_t>(sample)];
    std::int64_t room = most_tokens;
    std::size_t number = packed.size();
    if (const auto fullest = open.lower_bound({length, 0}); fullest != open.end()) {
      std::tie(room, number) = *fullest;
      open.erase(fullest);
    } else {
      packed.emplace_back();
    }
    packed[number].push_back(sample);
    if (packed[number].size() < most_samples && room > length) open.emplace(room - length, number);
  }
  return packed;
}

}  // namespace orch::train
