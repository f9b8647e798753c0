// Threads that do one thing after another: what the strand and the server must not wait for.
//
// Holds:
//  - Errands of one thread are run in the order in which they were put; at the end those that wait are dropped.
//  - One that throws is lost, and told of; the next is run all the same.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace orch::orchd {

class Errands {
 public:
  /// `told` hears of an errand that threw, on the errands' own thread.
  explicit Errands(std::function<void(const std::string&)> told, int threads = 1);
  ~Errands();
  /// Waits for what runs, and drops the rest.
  void stop();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  void put(std::function<void()> errand);

 private:
  void run();
  void run(const std::function<void()>& errand) const;

  const std::function<void(const std::string&)> told_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace orch::orchd
