// The simulated clock: what is to happen, and when; and the only source of chance.
//
// Holds: the same seed gives the same week, whatever machine it runs on (no standard distribution is used).
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace orch::sim {

/// Milliseconds since the simulation began.
using Time = std::int64_t;
inline constexpr Time kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// From `least` to `most`, both included.
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool chance(double probability) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability; }

 private:
  std::uint64_t state_;
};

class Clock {
 public:
  Time now() const { return now_; }
  void after(Time delay, std::function<void()> what) { events_.push({now_ + delay, next_++, std::move(what)}); }
  /// The next thing happens. False when there is none, or it is not before `until`.
  bool step(Time until) {
    if (events_.empty() || events_.top().at >= until) return false;
    // The queue gives no way to move out of it; the copy is of a small closure.
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    event.what();
    return true;
  }

 private:
  struct Event {
    Time at = 0;
    std::uint64_t number = 0;  // of equal times the first that was asked for
    std::function<void()> what;
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : number > other.number; }
  };
  Time now_ = 0;
  std::uint64_t next_ = 0;
  std::priority_queue<Event> events_;
};

}  // namespace orch::sim
