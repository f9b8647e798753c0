// Processes in tests: their ends and what they have to say are waited for, never guessed.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace orch::worker::test {

/// Longer than anything here takes, even under a sanitizer on a busy machine.
inline constexpr std::chrono::seconds kLong{60};

inline bool can_be_read(int descriptor, std::chrono::milliseconds within = kLong) {
  pollfd watched{descriptor, POLLIN, 0};
  return ::poll(&watched, 1, static_cast<int>(within.count())) > 0;
}

/// Whether the process, which need not be ours, ends in time: whoever has to reap it may be slow.
inline bool ends(pid_t process) {
  const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  if (descriptor < 0) return errno == ESRCH;
  const bool ended = can_be_read(descriptor);
  ::close(descriptor);
  return ended;
}

/// Through which a script says that it has come to a point: `echo > NAME`.
class Bell {
 public:
  explicit Bell(std::filesystem::path path) : path_(std::move(path)) {
    if (::mkfifo(path_.c_str(), 0600) != 0) throw std::runtime_error("no FIFO " + path_.string());
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  }
  ~Bell() { ::close(descriptor_); }
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  /// The next line that was said; empty: nothing came in time.
  std::string wait() {
    while (heard_.find('\n') == std::string::npos) {
      char piece[256];
      if (!can_be_read(descriptor_)) return "";
      const ssize_t got = ::read(descriptor_, piece, sizeof piece);
      if (got > 0) heard_.append(piece, static_cast<std::size_t>(got));
    }
    std::string line = heard_.substr(0, heard_.find('\n'));
    heard_.erase(0, line.size() + 1);
    return line;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string heard_;
};

inline std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace orch::worker::test
