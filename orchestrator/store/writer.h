// The thread that commits: what the strand gave it while the last commit was on its way is the next group.
//
// Holds:
//  - Groups are committed in the order in which they were given, and `done` is called in that order, on the writer's
//    thread, only after the commit.
//  - A commit that fails is fatal: `failed` is called once, and nothing is committed after it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "store/store.h"

namespace orch::store {

class Writer {
 public:
  using Done = std::function<void(std::vector<control::Action>)>;
  using Failed = std::function<void(const std::string& why)>;
  Writer(Store& store, Done done, Failed failed);
  /// Commits what it was given, then ends.
  ~Writer();

  void put(control::Effects effects);
  /// Waits until all that was put is committed; false after a failure.
  bool flush();

 private:
  void run();

  Store& store_;
  Done done_;
  Failed failed_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<control::Effects> waiting_;
  bool busy_ = false, stopping_ = false, broken_ = false;
  std::thread thread_;
};

}  // namespace orch::store
