// Scores of samples, added up so that neither the order nor the cut matters: what several workers measured of one cell
// is put together exactly.
//
// Holds: tallies of the same scores are equal, bit for bit, however they were added. A score is from -1 to 1 and kept
// to 2^-36; of up to ten million of them nothing overflows. Scores of 0 and 1 are exact.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace orch {

struct Mean {
  double value = 0;                      ///< NaN of no samples
  std::optional<double> standard_error;  ///< nothing of fewer than two samples
  std::int64_t samples = 0;
};

struct Tally {
  static constexpr std::int64_t kMostSamples = 10'000'000;

  std::int64_t samples = 0;
  std::int64_t sum = 0, squares = 0;  ///< in units of 2^-36

  void add(double score);
  void add(const Tally& other);
  /// The error is the sample's standard deviation over the root of its size.
  Mean mean() const;
  bool operator==(const Tally&) const = default;
};

/// By the part of a task that the samples belong to; a task without parts has one without a name.
using Tallies = std::map<std::string, Tally>;

/// The mean of the parts weighted by their sizes, with the pooled error, as lm-evaluation-harness has it.
Mean pooled(const Tallies& parts);

}  // namespace orch
