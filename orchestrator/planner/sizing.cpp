#include "planner/sizing.h"

#include <algorithm>
#include <cmath>

#include "planner/sizer.h"

namespace orch::planner {
namespace {

/// Of a worker, before it reads weights.
constexpr double kStartSeconds = 30;
constexpr std::size_t kRefusedKept = 10;

}  // namespace

Bounds bounds_of(const policy::Planning& planning) {
  const auto in_range = [](double value, double otherwise) { return value > 0 && value <= 1 ? value : otherwise; };
  const double most = in_range(planning.memory_most, 0.9);
  return {std::min(most, in_range(planning.memory_high, 0.85)), most};
}

void Sizer::refuse(std::string sentence) {
  if (refused_.size() >= kRefusedKept) return;
  if (std::find(refused_.begin(), refused_.end(), sentence) == refused_.end()) refused_.push_back(std::move(sentence));
}

double Sizer::load_seconds(const Placement& p) const {
  const double bandwidth = partition(p).load_bandwidth > 0 ? partition(p).load_bandwidth : kPlainLoad;
  const double bytes = model_ ? weight_bytes(*model_, need_.dtype) : 0;
  const double seconds = kStartSeconds + bytes / (std::max(1, p.nodes) * bandwidth);
  return std::isfinite(seconds) ? seconds : kStartSeconds;
}

Result<Sizing> Sizer::run() {
  if (need_.no_gpu) return run_without_gpu();
  const bool own = need_.kind == matrix::CellKind::kEval || need_.kind == matrix::CellKind::kTrain;
  if (own && !model_) return Error{"a job without a model can only be a command or a benchmark"};
  return own && model_->decoder ? run_decoder() : run_declared();
}

Result<Sizing> size(const Need& need, const Site& site) { return Sizer(need, site).run(); }

}  // namespace orch::planner
