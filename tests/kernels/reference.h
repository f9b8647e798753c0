// Definitions of ops in doubles, as plain as they can be said.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/device.h"

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

inline double activated(Activation activation, double v) {
  switch (activation) {
    case Activation::kNone:
      return v;
    case Activation::kSilu:
      return v / (1 + std::exp(-v));
    case Activation::kGelu:
      return v * 0.5 * std::erfc(-v / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    case Activation::kRelu:
      return v > 0 ? v : 0;
  }
  return v;
}

inline double dot(const Numbers& a, std::int64_t row_a, std::int64_t from_a, const Numbers& b, std::int64_t row_b) {
  double sum = 0;
  for (std::int64_t k = 0; k < b.cols; ++k) sum += a.at(row_a, from_a + k) * b.at(row_b, k);
  return sum;
}

/// As the weight is kept: int8 in 255 steps of a row.
inline Numbers kept(Numbers weight, DType dtype) {
  if (dtype != DType::kInt8) return weight;
  for (std::int64_t r = 0; r < weight.rows; ++r) {
    double most = 0;
    for (std::int64_t k = 0; k < weight.cols; ++k) most = std::max(most, std::fabs(weight.at(r, k)));
    const float step = most > 0 ? static_cast<float>(most) / 127.0F : 1;
    for (std::int64_t k = 0; k < weight.cols; ++k)
      weight.at(r, k) = std::nearbyint(static_cast<float>(weight.at(r, k)) / step) * static_cast<double>(step);
  }
  return weight;
}

}  // namespace orch::kernels::test
