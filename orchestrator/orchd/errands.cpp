#include "orchd/errands.h"

#include <exception>
#include <utility>

namespace orch::orchd {

Errands::Errands(std::function<void(const std::string&)> told, int threads) : told_(std::move(told)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

Errands::~Errands() { stop(); }

void Errands::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  wake_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void Errands::put(std::function<void()> errand) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    waiting_.push_back(std::move(errand));
  }
  wake_.notify_one();
}

void Errands::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const std::function<void()> errand = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    run(errand);
    lock.lock();
  }
}

void Errands::run(const std::function<void()>& errand) const {
  std::string why = "something that is no std::exception was thrown";
  try {
    return errand();
  } catch (const std::exception& error) {
    why = error.what();
  } catch (...) {  // NOLINT(bugprone-empty-catch): `why` says it
  }
  if (told_) told_("a fault of the program itself: something that was under way is not done: " + why);
}

}  // namespace orch::orchd
