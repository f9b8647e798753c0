// How often Slurm is asked: little, less when nothing changes, and ever less while it does not answer.
//
// Holds:
//  - No clock and no random numbers within: both are arguments, so that the same calls give the same answers.
//  - `random` is in [0, 1). Two daemons that began at one moment drift apart by it.
#pragma once

#include <chrono>

namespace orch::cluster {

/// Of a clock that only goes forward.
using Moment = std::chrono::milliseconds;

/// At most `burst` at once, and `per_second` in the long run.
class TokenBucket {
 public:
  TokenBucket(double burst, double per_second) : burst_(burst), per_second_(per_second), tokens_(burst) {}

  /// Takes one, and says how long it is until it may be used. One that is taken early is waited for by all that follow.
  std::chrono::milliseconds take(Moment now);
  /// How long take() would say.
  std::chrono::milliseconds wait(Moment now) const;

 private:
  double filled(Moment now) const;
  double burst_, per_second_, tokens_;  ///< tokens_ may be below 0: so many are owed
  Moment at_{};
};

/// Twice as long after each failure in a row, from `first` to `most`, and up to a quarter less by chance.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds most) : first_(first), most_(most) {}

  void failed(Moment now, double random);
  void worked();
  bool may_try(Moment now) const { return now >= again_; }
  /// When it may be tried again; the past: at once.
  Moment again() const { return again_; }
  int failures() const { return failures_; }

 private:
  std::chrono::milliseconds first_, most_;
  int failures_ = 0;
  Moment again_{Moment::min()};
};

struct LookRules {
  std::chrono::milliseconds interval = std::chrono::seconds(120);
  std::chrono::milliseconds most = std::chrono::seconds(300);   ///< when nothing changes
  std::chrono::milliseconds soonest = std::chrono::seconds(5);  ///< from a look to one that is asked for
  double jitter = 0.1;                                          ///< part of an interval by which it may be shorter
};

/// When the next look is due. The first is due at once.
class LookPace {
 public:
  explicit LookPace(LookRules rules = {});

  Moment next() const { return next_; }
  bool is_due(Moment now) const { return now >= next_; }
  /// Somebody waits for it: at once, but not sooner after the last than the rules say, nor while looks fail.
  void look_soon(Moment now);
  void looked(Moment now, bool changed, double random);
  void failed(Moment now, double random);

 private:
  LookRules rules_;
  Backoff backoff_;
  std::chrono::milliseconds interval_;
  Moment earliest_{Moment::min()};
  Moment next_{Moment::min()};
};

}  // namespace orch::cluster
