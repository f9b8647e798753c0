#include "train/order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/split_mix.h"

namespace orch::train {
namespace {

constexpr std::int64_t kMostBatches = 50;  // of a group, and
constexpr std::int64_t kLeastGroups = 4;   // as transformers has them

/// Fisher and Yates, from the end.
void shuffle(std::vector<std::int64_t>& samples, SplitMix64 random) {
  for (std::size_t left = samples.size(); left > 1; --left)
    std::swap(samples[left - 1], samples[static_cast<std::size_t>(random.below(left))]);
}

}  // namespace

std::vector<std::int64_t> epoch_order(std::span<const std::int64_t> lengths, const OrderRules& rules,
                                      std::int64_t epoch) {
  std::vector<std::int64_t> samples(lengths.size());
  std::iota(samples.begin(), samples.end(), std::int64_t{0});
  shuffle(samples, SplitMix64(rules.seed, static_cast<std::uint64_t>(epoch)));
  if (!rules.group_by_length || samples.empty()) return samples;
  const auto count = static_cast<std::int64_t>(samples.size());
  const std::int64_t batches = std::clamp(count / rules.batch / kLeastGroups, std::int64_t{1}, kMostBatches);
  // A group is never larger than all there is, whatever the batch.
  const auto group = static_cast<std::ptrdiff_t>(std::min(count, rules.batch) * batches);
  const auto length = [&](std::int64_t sample) { return lengths[static_cast<std::size_t>(sample)]; };
  const auto longer = [&](std::int64_t a, std::int64_t b) { return length(a) > length(b); };
  auto longest = samples.begin();
  for (auto begin = samples.begin(); begin != samples.end();) {
    const auto end = begin + std::min(group, samples.end() - begin);
    std::stable_sort(begin, end, longer);  // among equals the shuffled order stays
    if (longer(*begin, *longest)) longest = begin;
    begin = end;
  }
  std::iter_swap(samples.begin(), longest);
  return samples;
}

Order::Order(std::vector<std::int64_t> lengths, const OrderRules& rules) : lengths_(std::move(lengths)), rules_(rules) {
  rules_.batch = std::max<std::int64_t>(rules_.batch, 1);
}

std::span<const std::int64_t> Order::batch(std::int64_t step) {
  if (samples() == 0) return {};
  if (const std::int64_t epoch = epoch_of(step); epoch != epoch_) {
    order_ = epoch_order(lengths_, rules_, epoch);
    epoch_ = epoch;
  }
  const std::int64_t from = step % steps_of_epoch() * rules_.batch;
  return std::span<const std::int64_t>(order_).subspan(
      static_cast<std::size_t>(from), static_cast<std::size_t>(std::min(rules_.batch, samples() - from)));
}

}  // namespace orch::train
