// A process beside the test, for what one process cannot show: being killed, or holding a lock of its own.
//
// Holds: it is made before the test opens a database: SQLite's connections do not survive a fork.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>

namespace orch::store::test {

class Child {
 public:
  /// What it says to the test, and waits for from it.
  struct Line {
    int in, out;
    void say(std::int64_t number) const {
      if (write(out, &number, sizeof number) != sizeof number) _exit(3);
    }
    /// Nothing when the other side is gone.
    std::optional<std::int64_t> hear() const {
      std::int64_t number = 0;
      return read(in, &number, sizeof number) == sizeof number ? std::optional(number) : std::nullopt;
    }
  };

  explicit Child(const std::function<void(const Line&)>& work) {
    int down[2], up[2];
    if (pipe(down) != 0 || pipe(up) != 0) throw std::runtime_error("no pipe");
    id_ = fork();
    if (id_ < 0) throw std::runtime_error("no process");
    if (id_ == 0) {
      close(down[1]);
      close(up[0]);
      try {
        work(Line{down[0], up[1]});
      } catch (const std::exception& error) {
        std::fprintf(stderr, "child: %s\n", error.what());
        _exit(2);
      }
      _exit(0);
    }
    close(down[0]);
    close(up[1]);
    line_ = {up[0], down[1]};
  }
  ~Child() {
    kill_hard();
    close(line_.in);
    close(line_.out);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  const Line& line() const { return line_; }
  void kill_hard() {
    if (id_ <= 0) return;
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    id_ = 0;
  }

 private:
  pid_t id_ = 0;
  Line line_{};
};

}  // namespace orch::store::test
