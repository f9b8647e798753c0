#include "control/durations.h"

#include <algorithm>
#include <cmath>

namespace orch::control {
namespace {

constexpr double kLongest = 365.0 * 86400;  // seconds: no time limit is longer
constexpr double kLeastAsked = 1e-3;        // seconds: below, a ratio says nothing

}  // namespace

void Recent::add(float value, std::size_t most) {
  if (size() == most) drop_oldest();
  arrived_.push_back(value);
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), value), value);
}

void Recent::drop_oldest() {
  sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), arrived_.front()));
  arrived_.erase(arrived_.begin());
}

double Recent::median() const {
  const std::size_t half = size() / 2;
  const auto upper = static_cast<double>(sorted_[half]);
  return size() % 2 == 1 ? upper : (static_cast<double>(sorted_[half - 1]) + upper) / 2;
}

double Recent::quantile(double q) const {
  const double rank = std::ceil(q * static_cast<double>(size()));
  return static_cast<double>(sorted_[static_cast<std::size_t>(std::clamp(rank, 1.0, static_cast<double>(size()))) - 1]);
}

void Durations::take(Known& known, float value, std::size_t most) {
  known.last.add(value, most);
  ++known.in_window;
}

bool Durations::leave(Known& known) {
  // What leaves the window is the oldest: it is among the last only if there are no more than these.
  if (known.last.size() == known.in_window) known.last.drop_oldest();
  return --known.in_window == 0;
}

bool Durations::add(Work work, NeedId like, double seconds, double asked) {
  if (!(seconds > 0) || !(seconds <= kLongest)) return false;  // a worker that measured nothing, or nonsense
  const double ratio = seconds / std::max(asked, kLeastAsked);
  window_.push_back({work, like, static_cast<float>(seconds), static_cast<float>(ratio)});
  Known& of_work = works_[work];
  take(of_work, window_.back().seconds, kOfWork);
  const bool news = of_work.in_window == kLeastForMedian;
  known_ += static_cast<std::size_t>(news);
  take(needs_[like], window_.back().ratio, kOfNeed);
  if (window_.size() <= kWindow) return news;

  const Measured oldest = window_.front();
  window_.pop_front();
  const auto old_work = works_.find(oldest.work);
  known_ -= static_cast<std::size_t>(old_work->second.in_window == kLeastForMedian);
  if (leave(old_work->second)) works_.erase(old_work);
  const auto old_need = needs_.find(oldest.like);
  if (leave(old_need->second)) needs_.erase(old_need);
  return news;
}

std::optional<double> Durations::expected(Work work) const {
  const auto at = works_.find(work);
  if (at == works_.end() || at->second.last.size() < kLeastForMedian) return std::nullopt;
  return at->second.last.median();
}

std::optional<double> Durations::late(Work work, double quantile) const {
  const auto at = works_.find(work);
  if (at == works_.end() || at->second.last.size() < kLeastForLate) return std::nullopt;
  return at->second.last.quantile(quantile);
}

std::size_t Durations::runs(Work work) const {
  const auto at = works_.find(work);
  return at == works_.end() ? 0 : at->second.last.size();
}

double Durations::ratio(NeedId like) const {
  const auto at = needs_.find(like);
  return at == needs_.end() || at->second.last.size() < kLeastForNeed ? 1 : at->second.last.median();
}

std::size_t Durations::runs(NeedId like) const {
  const auto at = needs_.find(like);
  return at == needs_.end() ? 0 : at->second.last.size();
}

}  // namespace orch::control
