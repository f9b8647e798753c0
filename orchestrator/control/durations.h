// How long cells took: the same work takes as long again.
//
// Holds:
//  - All that is known is a function of the last kWindow measurements, in their order: what a restart reads back from
//    the results is what was known before it.
//  - Of one work the last kOfWork count, of cells of like needs the last kOfNeed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "control/ids.h"

namespace orch::control {

/// Numbers of which the last few count; the middle of them and their quantiles cost nothing.
class Recent {
 public:
  /// The oldest leaves where there would be more than `most`.
  void add(float value, std::size_t most);
  void drop_oldest();
  std::size_t size() const { return sorted_.size(); }
  /// Of an even number the mean of the two in the middle.
  double median() const;
  /// Nearest rank.
  double quantile(double q) const;
  bool operator==(const Recent&) const = default;

 private:
  std::vector<float> arrived_, sorted_;
};

class Durations {
 public:
  static constexpr std::size_t kWindow = 50'000;
  static constexpr std::size_t kOfWork = 32, kOfNeed = 64;
  static constexpr std::size_t kLeastForMedian = 3, kLeastForLate = 5, kLeastForNeed = 8;

  /// A result that was accepted. `seconds`: of all chunks of its cell, at the pace of this one; `asked`: what was
  /// expected of it before anything was measured; `like`: the first of the needs that are like its cell's. Returns
  /// whether this made a work known that was not.
  bool add(Work work, NeedId like, double seconds, double asked);

  /// Seconds of such work, by its median; nothing before kLeastForMedian runs.
  std::optional<double> expected(Work work) const;
  /// Seconds that such work will hardly exceed: nothing before kLeastForLate runs.
  std::optional<double> late(Work work, double quantile) const;
  std::size_t runs(Work work) const;
  /// By how much cells of such needs took longer than what was asked for: 1 before kLeastForNeed runs.
  double ratio(NeedId like) const;
  std::size_t runs(NeedId like) const;

  /// Works that have a median.
  std::size_t known() const { return known_; }
  std::size_t measured() const { return window_.size(); }
  bool operator==(const Durations&) const = default;

 private:
  struct Measured {
    Work work = kNoWork;
    NeedId like{};
    float seconds = 0, ratio = 0;
    bool operator==(const Measured&) const = default;
  };
  struct Known {
    Recent last;
    std::uint32_t in_window = 0;
    bool operator==(const Known&) const = default;
  };
  static void take(Known& known, float value, std::size_t most);
  /// Whether none is left.
  static bool leave(Known& known);

  std::deque<Measured> window_;
  std::unordered_map<Work, Known> works_;
  std::map<NeedId, Known> needs_;
  std::size_t known_ = 0;
};

}  // namespace orch::control
