#include "base/tally.h"

#include <cmath>
#include <limits>

namespace orch {
namespace {

constexpr double kUnit = 68719476736.0;  // 2^36

std::int64_t units_of(double score) { return static_cast<std::int64_t>(std::llround(score * kUnit)); }

/// Of integers too large for a double, rounded once.
__extension__ typedef __int128 Wide;

}  // namespace

void Tally::add(double score) {
  ++samples;
  sum += units_of(score);
  squares += units_of(score * score);
}

void Tally::add(const Tally& other) {
  samples += other.samples;
  sum += other.sum;
  squares += other.squares;
}

Mean Tally::mean() const {
  Mean mean;
  mean.samples = samples;
  if (samples == 0) {
    mean.value = std::numeric_limits<double>::quiet_NaN();
    return mean;
  }
  const auto n = static_cast<double>(samples);
  mean.value = static_cast<double>(sum) / n / kUnit;
  if (samples < 2) return mean;
  // n² times the variance, without a rounding: the difference of two large numbers that may be nearly equal.
  const Wide spread = Wide{samples} * squares * static_cast<std::int64_t>(kUnit) - Wide{sum} * sum;
  const double variance = spread > 0 ? static_cast<double>(spread) / (n * (n - 1)) / (kUnit * kUnit) : 0;
  mean.standard_error = std::sqrt(variance / n);
  return mean;
}

Mean pooled(const Tallies& parts) {
  if (parts.size() == 1) return parts.begin()->second.mean();
  Tally all;
  double squares = 0;
  bool has_errors = !parts.empty();
  for (const auto& [name, part] : parts) {
    all.add(part);
    const Mean mean = part.mean();
    has_errors = has_errors && mean.standard_error.has_value();
    const auto n = static_cast<double>(part.samples);
    if (mean.standard_error) squares += (n - 1) * n * *mean.standard_error * *mean.standard_error;
  }
  Mean whole = all.mean();
  whole.standard_error.reset();
  const auto size = static_cast<double>(all.samples), count = static_cast<double>(parts.size());
  if (has_errors) whole.standard_error = std::sqrt(squares / (size - count) / size);
  return whole;
}

}  // namespace orch
