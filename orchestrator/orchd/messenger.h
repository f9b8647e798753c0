// Tells people outside what control/ asks to be told: to whom notify.yaml says.
//
// Holds: a notice is told only once the state has agreed, on disk, that it is being told now; one whose telling was cut
// short is not told again. The file is read for each notice, so that a change of it needs no restart.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "control/action.h"
#include "control/event.h"
#include "control/notice.h"
#include "notify/target.h"
#include "orchd/errands.h"

namespace orch::orchd {

class Messenger {
 public:
  using Answered = std::function<void(const control::action::Answer&)>;
  struct Options {
    std::filesystem::path state;  ///< where notify.yaml is
    std::string host;
    std::function<void(control::Event, Answered)> ask;  ///< the strand; answered once it is committed
    std::function<void(control::Event)> put;
    std::function<void(const std::string&)> log;
  };

  explicit Messenger(Options options);
  /// Waits for the one message that is under way. What is not begun is told after the next start.
  void stop();
  /// Comes back at once.
  void notify(const control::Notice& notice);

 private:
  void begin(const control::Notice& notice);
  /// Whether the state agreed, on disk, that it is told now. Waits for it.
  bool take(const control::Notice& notice);
  void tell_all(const control::Notice& notice, const std::vector<notify::Target>& targets);

  Options options_;
  std::atomic<bool> stopping_ = false;
  Errands errands_;
};

}  // namespace orch::orchd
