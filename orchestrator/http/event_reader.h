// Takes the bytes of a text/event-stream apart, as the HTML standard says (9.2.6). Internal to this folder.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace orch::http {

class EventReader {
 public:
  /// Whether to go on.
  using Each = std::function<bool(const Event&)>;
  EventReader(const Each& each, std::size_t most) : each_(each), most_(most) {}

  enum class State { kOpen, kStopped, kTooLong };
  /// Bytes after the end of kOpen are not looked at.
  State feed(std::string_view bytes);

 private:
  void take_line();

  const Each& each_;
  std::size_t most_;  ///< bytes of one event
  State state_ = State::kOpen;
  std::string line_;
  Event event_;
  bool has_data_ = false, after_return_ = false, at_start_ = true;
};

}  // namespace orch::http
