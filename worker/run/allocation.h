// What the cluster gave this job on this node, from its environment and job.json; and what of that environment is not
// for the users' programs.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"
#include "run/loop.h"

namespace orch::worker {

using Environment = std::map<std::string, std::string>;

/// `NAME=value` each; of a name that is there twice the first counts, as for getenv.
Environment environment_of(char* const* variables);

/// `gpu[1-3,07-08],login` as its hosts, in order. An error: it is no list of hosts, or names more than 100,000.
Result<std::vector<std::string>> expand_nodes(std::string_view list);

/// The options of a worker's loop. `now` is the time of day, for SLURM_JOB_END_TIME.
Result<LoopOptions> allocation_of(const Environment& environment, const wire::JobFile& job,
                                  std::chrono::system_clock::time_point now);

/// What programs get: all but the variables of MPI launchers and those by which Slurm tells ranks apart. With them a
/// program that knows MPI or Slurm (mpi4py, PyTorch Lightning) would take itself for a rank of the worker's step.
std::vector<std::string> for_programs(const Environment& environment);

}  // namespace orch::worker
