// Definitions of ops in doubles, as plain as they can be said.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace orch::kernels::test {

inline std::vector<double> norm_of(std::vector<double> row, bool layer, double eps, const std::vector<double>& weight,
                                   const std::vector<double>& bias, bool plus_one) {
  const auto n = static_cast<double>(row.size());
  double mean = 0, squares = 0;
  if (layer)
    for (const double v : row) mean += v / n;
  for (const double v : row) squares += (v - mean) * (v - mean) / n;
  for (std::size_t k = 0; k < row.size(); ++k) {
    row[k] = (row[k] - mean) / std::sqrt(squares + eps);
    if (!weight.empty()) row[k] *= weight[k] + (plus_one ? 1 : 0);
    if (!bias.empty()) row[k] += bias[k];
  }
  return row;
}

/// A head's components [0, dims) turned by the angles of `position`.
inline void turn(std::vector<double>& head, std::size_t from, const std::vector<double>& frequencies, double position,
                 bool interleaved, double scale) {
  const std::size_t half = frequencies.size();
  for (std::size_t i = 0; i < half; ++i) {
    double& a = head[from + (interleaved ? 2 * i : i)];
    double& b = head[from + (interleaved ? 2 * i + 1 : i + half)];
    const double angle = position * frequencies[i];
    const double first = (a * std::cos(angle) - b * std::sin(angle)) * scale;
    b = (b * std::cos(angle) + a * std::sin(angle)) * scale;
    a = first;
  }
}

}  // namespace orch::kernels::test
