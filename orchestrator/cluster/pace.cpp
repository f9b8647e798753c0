#include "cluster/pace.h"

#include <algorithm>
#include <cmath>

namespace orch::cluster {
namespace {

using std::chrono::milliseconds;

/// Of `whole`, all but a random part of at most `share`.
milliseconds shortened(milliseconds whole, double share, double random) {
  return milliseconds(std::llround(static_cast<double>(whole.count()) * (1 - share * random)));
}

}  // namespace

double TokenBucket::filled(Moment now) const {
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - at_).count());
  return std::min(burst_, tokens_ + seconds * per_second_);
}

milliseconds TokenBucket::wait(Moment now) const {
  const double lacking = 1 - filled(now);
  return lacking <= 0 ? milliseconds(0) : milliseconds(static_cast<long long>(std::ceil(lacking / per_second_ * 1000)));
}

milliseconds TokenBucket::take(Moment now) {
  const milliseconds until = wait(now);
  tokens_ = filled(now) - 1;
  at_ = std::max(at_, now);
  return until;
}

void Backoff::failed(Moment now, double random) {
  milliseconds pause = first_;
  for (int i = 0; i < failures_ && pause < most_; ++i) pause *= 2;
  ++failures_;
  again_ = now + shortened(std::min(pause, most_), 0.25, random);
}

void Backoff::worked() {
  failures_ = 0;
  again_ = Moment::min();
}

LookPace::LookPace(LookRules rules)
    : rules_(rules), backoff_(std::min(2 * rules.soonest, rules.most), rules.most), interval_(rules.interval) {}

void LookPace::look_soon(Moment now) { next_ = std::min(next_, std::max({now, earliest_, backoff_.again()})); }

void LookPace::looked(Moment now, bool changed, double random) {
  backoff_.worked();
  interval_ = changed ? rules_.interval : std::min(rules_.most, interval_ + interval_ / 2);
  earliest_ = now + rules_.soonest;
  next_ = now + shortened(interval_, rules_.jitter, random);
}

void LookPace::failed(Moment now, double random) {
  backoff_.failed(now, random);
  earliest_ = now + rules_.soonest;
  next_ = backoff_.again();
}

}  // namespace orch::cluster
