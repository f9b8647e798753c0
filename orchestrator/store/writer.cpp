#include "store/writer.h"

#include <iterator>
#include <utility>

namespace orch::store {

Writer::Writer(Store& store, Done done, Failed failed)
    : store_(store), done_(std::move(done)), failed_(std::move(failed)), thread_([this] { run(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Writer::put(control::Effects effects) {
  {
    const std::lock_guard lock(mutex_);
    if (broken_) return;
    waiting_.push_back(std::move(effects));
  }
  wake_.notify_one();
}

bool Writer::flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return broken_ || (waiting_.empty() && !busy_); });
  return !broken_;
}

void Writer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::vector<control::Effects> group = std::exchange(waiting_, {});
    busy_ = true;
    lock.unlock();

    const auto committed = store_.commit(group);
    if (!committed) {
      lock.lock();
      broken_ = true;
      waiting_.clear();
      lock.unlock();
      failed_(committed.error().what);
      idle_.notify_all();
      return;
    }
    std::vector<control::Action> actions;
    for (control::Effects& effects : group)
      actions.insert(actions.end(), std::make_move_iterator(effects.actions.begin()),
                     std::make_move_iterator(effects.actions.end()));
    done_(std::move(actions));

    lock.lock();
    busy_ = false;
    idle_.notify_all();
  }
}

}  // namespace orch::store
