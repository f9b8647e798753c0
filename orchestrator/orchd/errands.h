// Threads that do one thing after another: what the strand and the server must not wait for.
//
// Holds: errands of one thread are run in the order in which they were put; at the end those that wait are dropped.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace orch::orchd {

class Errands {
 public:
  explicit Errands(int threads = 1);
  ~Errands();
  /// Waits for what runs, and drops the rest.
  void stop();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  void put(std::function<void()> errand);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace orch::orchd
