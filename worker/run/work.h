// What is being done for a leased chunk: a program that runs, or questions that are asked of a model.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace orch::worker {

/// How it ended.
struct Outcome {
  enum class What {
    kDone,
    kFailed,
    kStopped,  ///< because it was told to: that says nothing about the cell
  };
  What what = What::kFailed;
  std::string metrics, figures;  ///< of kDone: JSON
  std::string cause, reason;     ///< of kFailed
  bool out_of_time = false;
  int signal = 0;      ///< that ended it; nobody here sent it, or it was told to stop
  double seconds = 0;  ///< of the work itself, without what was loaded for it
};

class Work {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Work() = default;
  /// Asks it to end; after `grace` it is over, whatever it says. Asked again, the earlier end counts.
  virtual void stop(Clock::duration grace) = 0;
  /// Its end, once; sees to its time. Never waits.
  virtual std::optional<Outcome> poll(Clock::time_point now) = 0;
  /// When poll() has something to do, should it not end before.
  virtual Clock::time_point due() const = 0;
  virtual std::int64_t done() const { return 0; }  ///< samples, or steps of a training
  virtual std::int64_t all() const { return 0; }
  /// Whether another attempt goes on where this one ends: then it need not be waited for.
  virtual bool goes_on_elsewhere() const { return false; }
  /// Of a training: the last step's line of its curve, as wire::Heartbeat::Held has it.
  virtual std::string live() const { return {}; }
};

/// The time, but never one that the clock cannot hold.
inline Work::Clock::time_point after(double seconds) {
  const double bounded = seconds > 0 ? (seconds < 3e8 ? seconds : 3e8) : 0;
  return Work::Clock::now() + std::chrono::duration_cast<Work::Clock::duration>(std::chrono::duration<double>(bounded));
}

}  // namespace orch::worker
