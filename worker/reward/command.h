// Rewards by a program of the user's: it reads completions as lines of JSON and prints a line for each.
//
//   in:  {"prompt": …, "completion": …, "tokens": 12, "ended": true, "group": 3, "row": {the row's other fields}}
//   out: 0.5            or    {"reward": 0.5}, with whatever else is of interest there
//
// It is started for each call, with its words as they are: there is no shell.
//
// It is started by posix_spawn, which shares this process's memory until the exec: safe in a process with threads and
// MPI, where a fork is not. That is why the daemon's cluster/process.h, which forks, is not used; and run/starter.h,
// whose helper is there before MPI, starts programs with an empty input and a log, which nobody reads back.
//
// Holds:
//  - Rewards are given only if the program ended with code 0 and printed a finite number for each completion; else the
//    error says what it did instead, and how it explained itself on its standard error.
//  - It ends within `limit`, and prints no more than is read. When of() returns nothing of its process group runs.
//  - It gets standard streams and no other descriptor of ours.
// It does not end with a worker that is killed: it goes on until it has read its input and written to nobody. In a job
// of Slurm's it ends with the job.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "reward/reward.h"

namespace orch::reward {

struct CommandSettings {
  std::vector<std::string> run;                               ///< the first word is looked for in this process's PATH
  std::vector<std::string> environment;                       ///< NAME=value; empty: this process's own
  std::chrono::milliseconds limit = std::chrono::minutes(5);  ///< of a call
  std::size_t most_output = std::size_t{64} << 20;            ///< bytes of its standard output
};

class CommandReward : public Reward {
 public:
  static Result<CommandReward> make(CommandSettings settings);

  /// Nothing is started where there are no completions.
  Result<std::vector<double>> of(std::span<const Completion> completions) override;

 private:
  explicit CommandReward(CommandSettings settings) : settings_(std::move(settings)) {}

  CommandSettings settings_;
};

}  // namespace orch::reward
