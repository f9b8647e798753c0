// A process and all that descend from it, as /proc shows them: how many there are, and how much memory they have.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace orch::sandbox {

struct Tree {
  std::uint64_t memory = 0;  ///< bytes; what several share is counted once, where the kernel says how much that is
  std::uint32_t tasks = 0;   ///< processes and threads, with the first
};

/// What shared memory is divided exactly only where the plain sum is above `precise_above`: that takes the kernel long.
Tree look_at(pid_t first, std::uint64_t precise_above);

}  // namespace orch::sandbox
