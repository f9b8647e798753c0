// Tells people outside what control/ asks to be told: to whom notify.yaml says.
//
// Holds: a notice is told only once the state has agreed, on disk, that it is being told now; one whose telling was cut
// short is not told again. The file is read for each notice, so that a change of it needs no restart.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "control/action.h"
#include "control/event.h"
#include "control/notice.h"
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
  void stop() { errands_.stop(); }
  /// Comes back at once.
  void notify(const control::Notice& notice);

 private:
  void begin(const control::Notice& notice);
  void tell_all(const control::Notice& notice);

  Options options_;
  Errands errands_;
};

}  // namespace orch::orchd
