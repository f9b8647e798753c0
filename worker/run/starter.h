// Starts users' programs from a small process of its own, the helper, which is forked before MPI and before any thread:
// a fork after MPI_Init is unsafe with some fabrics.
//
// Holds:
//  - A program gets its words, the environment given, an empty standard input, its log, and no descriptor of ours.
//  - A program leads a process group of its own. Its end is told when nothing of the group is left (what was killed and
//    cannot die, as in a driver, is given up after kPatience).
//  - When the worker ends, however it ends, the helper kills every program and all that they left behind, and ends.
//    When the helper is killed, its programs are too.
//  - SIGUSR1 is ignored in programs: some of Slurm's settings send the signal before the time limit to every process.
// For one thread.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace orch::worker {

/// What is to be run, and where.
struct Order {
  std::vector<std::string> run;          ///< the first word is looked for in the PATH of `environment`
  std::vector<std::string> environment;  ///< NAME=value, each name once
  std::filesystem::path folder;
  std::filesystem::path log;  ///< appended to
};

struct StartError {
  bool of_program = false;  ///< it is not there, or cannot be run: trying again would not help
  std::string what;
};

class Starter {
 public:
  static constexpr auto kPatience = std::chrono::seconds(10);

  /// Forks the helper. The process must have one thread.
  static Result<Starter> fork();
  Starter(Starter&& other) noexcept;
  Starter& operator=(Starter&&) = delete;
  /// Kills what still runs, and waits for the helper.
  ~Starter();

  struct Started {
    std::uint64_t number = 0;  ///< of the program, never used again
    pid_t pid = -1;
  };
  Result<Started, StartError> start(const Order& order);
  /// To the program's whole group; harmless when it has ended.
  void kill(std::uint64_t number, int signal);
  /// The status, as of waitpid, of a program that has ended; once.
  std::optional<int> ended(std::uint64_t number);
  /// Takes in what the helper says; never waits.
  void look() { listen(std::nullopt); }
  /// Its end is not of interest any more.
  void forget(std::uint64_t number);
  /// The CPUs of programs that are started from now on.
  void use_cpus(const cpu_set_t& cpus);

  /// False: the helper is gone and nothing can be started; what ran was killed, and counts as ended by SIGKILL.
  bool alive() const { return alive_; }
  /// Can be read when a program has ended.
  int descriptor() const { return socket_; }
  pid_t pid() const { return helper_; }

 private:
  Starter(pid_t helper, int socket) : helper_(helper), socket_(socket) {}
  bool send(const std::string& frame);
  /// Takes in what the helper says; waits for the answer to `number`'s start if there is one to come.
  void listen(std::optional<std::uint64_t> number);
  void hear(const std::string& frame);
  void lose_helper();

  pid_t helper_ = -1;
  int socket_ = -1;
  bool alive_ = true;
  std::uint64_t next_ = 1;
  std::string heard_;  ///< bytes of a frame that is not whole yet
  struct Answer {
    std::uint64_t number = 0;
    pid_t pid = -1;
    int error = 0;  ///< errno; 0: it runs
    int step = 0;
  };
  std::optional<Answer> answer_;
  std::map<std::uint64_t, pid_t> running_;
  std::map<std::uint64_t, int> ended_;  ///< statuses
};

}  // namespace orch::worker
