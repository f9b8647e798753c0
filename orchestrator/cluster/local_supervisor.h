// The process that stands over one job on this machine, and outlives the daemon.
//
// Holds:
//  - The job's whole tree of processes ends with it: orphans of the script become children of the supervisor.
//  - A job's script is started at most once: by the supervisor that has the job's lock and finds it waiting.
//  - How the job ended is on the disk before the lock is free.
#pragma once

#include <optional>
#include <string>

namespace orch::cluster {

/// The first argument by which a program knows that it is to be a supervisor.
inline constexpr const char* kSupervise = "--supervise-local-job";

/// To be the first call in main() of the program that Local starts as supervisor: its exit code, or nothing if it was
/// started for something else.
std::optional<int> supervisor_main(int argc, char** argv);

/// Ends what is left of a job whose supervisor was killed: the processes that have its id and directory in their
/// environment.
void kill_leftovers(const std::string& id, const std::string& directory);

}  // namespace orch::cluster
