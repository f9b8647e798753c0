// Running another program and reading what it prints.
//
// Holds:
//  - No shell: the program gets its arguments as they are. Its standard input is what the caller gives, else empty.
//  - It ends within the time given, and its output within the size given; past either, it and what it started are
//  killed, by the
//    id of its own process group, and no process is left behind.
//  - It dies with the process that runs it: a daemon that is killed leaves no sbatch that goes on to submit.
//  - What would change the form of Slurm's answers (SINFO_FORMAT, SQUEUE_SORT, SLURM_TIME_FORMAT, …) does not reach it,
//    nor what would change a job that it submits (SBATCH_PARTITION, or the SLURM_* of a job that we run in ourselves).
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::cluster {

/// What a program printed that ended with exit code 0.
struct Output {
  std::string out;
  std::string err;
};

enum class RunFailure {
  kNotFound,  ///< no such program, or it may not be run
  kNonZero,   ///< it ended with another code than 0, or by a signal
  kTimedOut,
  kTooMuch,  ///< it printed more than was to be read
  kSystem,   ///< the system had no pipe or no process to give
};

struct RunError {
  RunFailure kind = RunFailure::kSystem;
  int code = 0;      ///< of kNonZero: the exit code, or 128 + the signal
  std::string what;  ///< a sentence: which program, what became of it, what it said
  std::string said;  ///< all that it printed on its standard error
};

/// Runs argv[0], looked up in PATH, and waits for its end. `most_output` bounds standard output and standard error,
/// each. `variables`, each
/// `NAME=value`, are added to its environment; `input` is what it reads.
Result<Output, RunError> run_program(const std::vector<std::string>& argv, std::chrono::milliseconds timeout,
                                     std::size_t most_output, const std::vector<std::string>& variables = {},
                                     std::string_view input = {});

/// Whether a variable of the environment changes what Slurm's commands print or submit.
bool shapes_answers(const std::string& variable);

}  // namespace orch::cluster
