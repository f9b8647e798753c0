#include "train/keep.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace orch::train {

std::vector<std::int64_t> to_remove(std::span<const Kept> there, const KeepRules& rules) {
  std::vector<Kept> whole, judged;
  for (const Kept& each : there) {
    if (each.is_resumable) whole.push_back(each);
    if (each.loss && std::isfinite(*each.loss)) judged.push_back(each);
  }
  std::sort(whole.begin(), whole.end(), [](const Kept& a, const Kept& b) { return a.step > b.step; });
  std::sort(judged.begin(), judged.end(),
            [](const Kept& a, const Kept& b) { return *a.loss != *b.loss ? *a.loss < *b.loss : a.step < b.step; });
  std::set<std::int64_t> stay;
  for (std::size_t i = 0; i < std::min(rules.newest, whole.size()); ++i) stay.insert(whole[i].step);
  for (std::size_t i = 0; i < std::min(rules.best, judged.size()); ++i) stay.insert(judged[i].step);
  std::vector<std::int64_t> gone;
  for (const Kept& each : there)
    if (!stay.contains(each.step)) gone.push_back(each.step);
  std::sort(gone.begin(), gone.end());
  return gone;
}

}  // namespace orch::train
