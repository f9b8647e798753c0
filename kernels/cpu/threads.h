// The threads that ops are cut over.
//
// Holds: which thread does what changes no number: units are cut by shape alone, and none reads what another writes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace orch::kernels::cpu {

class Threads {
 public:
  /// The caller of run() is one of them.
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return static_cast<int>(others_.size()) + 1; }

  /// work(unit, thread) for every unit from 0; returns when all are done. One caller at a time; others wait.
  void run(std::int64_t units, const std::function<void(std::int64_t unit, int thread)>& work);

 private:
  void help(int thread);
  void take(int thread);

  std::vector<std::thread> others_;
  std::mutex callers_;
  std::mutex mutex_;
  std::condition_variable begun_, ended_;
  const std::function<void(std::int64_t, int)>* work_ = nullptr;
  std::int64_t units_ = 0;
  std::atomic<std::int64_t> next_ = 0;
  std::atomic<std::uint64_t> round_ = 0;
  std::atomic<int> busy_ = 0;
  bool stopped_ = false;
};

}  // namespace orch::kernels::cpu
