#include "http/event_reader.h"

#include <utility>

namespace orch::http {

EventReader::State EventReader::feed(std::string_view bytes) {
  while (!bytes.empty() && state_ == State::kOpen) {
    if (std::exchange(after_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const std::size_t end = bytes.find_first_of("\r\n");
    line_.append(bytes.substr(0, end));
    if (line_.size() + event_.data.size() > most_) {
      state_ = State::kTooLong;
      break;
    }
    if (end == std::string_view::npos) break;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    take_line();
  }
  return state_;
}

void EventReader::take_line() {
  std::string line = std::exchange(line_, std::string());
  if (std::exchange(at_start_, false) && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
  if (line.empty()) {
    if (has_data_) {
      event_.data.pop_back();  // the line break after the last line
      if (!each_(event_)) state_ = State::kStopped;
    }
    // The id stays that of the stream until another comes.
    event_.event.clear();
    event_.data.clear();
    has_data_ = false;
    return;
  }
  const std::size_t colon = line.find(':');
  const std::string_view whole = line;
  const std::string_view field = whole.substr(0, colon);
  std::string_view value = colon == std::string::npos ? std::string_view() : whole.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    event_.data.append(value).append("\n");
    has_data_ = true;
  } else if (field == "event") {
    event_.event = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    event_.id = value;
  }
}

}  // namespace orch::http
