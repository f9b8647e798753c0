#include "kernels/cpu/threads.h"

namespace orch::kernels::cpu {
namespace {

/// Turns before a thread sleeps: ops follow each other within microseconds, and waking costs as much.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Threads::Threads(int count) {
  for (int thread = 1; thread < count; ++thread) others_.emplace_back([this, thread] { help(thread); });
}

Threads::~Threads() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    ++round_;
  }
  begun_.notify_all();
  for (std::thread& thread : others_) thread.join();
}

void Threads::run(std::int64_t units, const std::function<void(std::int64_t, int)>& work) {
  if (units <= 0) return;
  const std::lock_guard alone(callers_);
  if (units == 1 || others_.empty()) {
    for (std::int64_t unit = 0; unit < units; ++unit) work(unit, 0);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    units_ = units;
    next_ = 0;
    busy_ = static_cast<int>(others_.size());
    ++round_;
  }
  begun_.notify_all();
  take(0);
  for (int spin = 0; busy_.load(std::memory_order_acquire) > 0 && spin < kSpins; ++spin) relax();
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return busy_ == 0; });
}

void Threads::take(int thread) {
  for (std::int64_t unit = next_++; unit < units_; unit = next_++) (*work_)(unit, thread);
}

void Threads::help(int thread) {
  std::uint64_t seen = 0;
  while (true) {
    for (int spin = 0; round_.load(std::memory_order_acquire) == seen && spin < kSpins; ++spin) relax();
    {
      std::unique_lock lock(mutex_);
      begun_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (stopped_) return;
    }
    take(thread);
    const std::lock_guard lock(mutex_);
    if (--busy_ == 0) ended_.notify_all();
  }
}

}  // namespace orch::kernels::cpu
