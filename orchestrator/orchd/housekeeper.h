// Goes through the folders of jobs that are over, now and then, and removes what the policy keeps no longer.
//
// Holds: it is never in the way: the state is looked at for a moment, files are removed on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "control/state.h"

namespace orch::orchd {

class Housekeeper {
 public:
  struct Options {
    std::chrono::milliseconds every = std::chrono::hours(1);
    std::filesystem::path jobs;
    std::function<void(std::function<void(const control::State&, control::Now)>)> look;
    std::function<void(const std::string&)> log;
  };

  explicit Housekeeper(Options options);
  ~Housekeeper();
  void stop();

 private:
  struct OldJob {
    std::string name;
    double age = 0;  ///< seconds since its end
  };
  struct Round {
    policy::Retention retention;
    std::vector<OldJob> jobs;
    std::set<control::CellId> needed;   ///< what they left is built upon, or gone on with
    std::set<control::CellId> trained;  ///< trainings of the native engine
  };

  void run();
  void begin_round(const control::State& state, control::Now now);
  void tidy(const Round& round);

  Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::optional<Round> round_;  ///< to be done
  std::set<std::string> gone_;  ///< jobs of which nothing is left
  std::thread thread_;
};

}  // namespace orch::orchd
