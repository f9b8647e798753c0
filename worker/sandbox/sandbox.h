// Running a program that a language model wrote, as hostile: in namespaces of its own, without rights or network, with
// little to read, less to write, and bounds on all that it takes. docs/sandbox.md says what that keeps off, and what
// not.
//
// The work is done by a small program, orch-sandbox, one for each run. It is started by posix_spawn, which shares this
// process's memory until the exec: that is safe in a process with threads and with MPI, where a fork is not.
//
// Holds:
//  - When run() returns nothing of the program is left: no process, no mount, no file.
//  - When this process ends, however it ends, so do the programs that it runs.
// For any number of threads at once.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "sandbox/program.h"

namespace orch::sandbox {

class Sandbox {
 public:
  /// Tries whether programs can be confined here; where not, the error says why and what an administrator can do.
  /// `program`: where orch-sandbox is; empty: beside the program that runs.
  static Result<Sandbox> open(std::filesystem::path program = {});

  /// Errors are those of our own: whatever the program does is an Outcome.
  Result<Outcome> run(const Program& program, const Limits& limits) const;

 private:
  explicit Sandbox(std::filesystem::path program) : program_(std::move(program)) {}

  std::filesystem::path program_;
};

}  // namespace orch::sandbox
