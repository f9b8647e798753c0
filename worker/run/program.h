// A user's program: started without a shell, in a process group of its own, its output in a file, ended in time.
//
// Holds:
//  - It gets its arguments as they are, an empty standard input, and the environment given, no more.
//  - When it has ended nothing of its process group is left (starter.h).
//  - Where it ends by itself, how is told apart: exit code, signal, out of its time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "run/starter.h"

namespace orch::worker {

struct Ending {
  int code = 0;    ///< of exit
  int signal = 0;  ///< that ended it; 0: it exited
  bool out_of_time = false;
};

class Program {
 public:
  using Clock = std::chrono::steady_clock;

  /// The starter must outlive the program.
  static Result<Program, StartError> start(Starter& starter, const Order& order, Clock::time_point until);
  Program(Program&& other) noexcept;
  Program& operator=(Program&& other) noexcept;
  /// Kills what still runs.
  ~Program();

  /// SIGTERM once, SIGKILL after `grace`; seen to by poll(). Asked again, the earlier end counts.
  void stop(Clock::duration grace);
  /// Its end, once; sees to its time. Never waits.
  std::optional<Ending> poll(Clock::time_point now);
  /// When poll() has something to do, should it not end before.
  Clock::time_point due() const;
  pid_t pid() const { return started_.pid; }

 private:
  Program(Starter& starter, Starter::Started started, Clock::time_point until)
      : starter_(&starter), started_(started), until_(until) {}

  Starter* starter_ = nullptr;  ///< null: it has ended, or was moved from
  Starter::Started started_;
  Clock::time_point until_;
  std::optional<Clock::time_point> kill_at_;
  bool out_of_time_ = false, killed_ = false;
};

/// The end of a log, for a reason: whole lines of at most so many bytes of it, as a terminal shows them: of a line that
/// was written over (a progress bar) only what was written last.
std::string last_lines(const std::filesystem::path& log, std::size_t most);

}  // namespace orch::worker
