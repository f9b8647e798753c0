// Ranks that are processes, held together by MPI. Only mpi_transport.cpp and ranks.cpp know MPI.
#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "comm/transport.h"

namespace orch::comm {

/// All ranks of this worker (see worker/comm/ranks.h, which starts MPI). An error where there is no MPI.
Result<std::unique_ptr<Transport>> make_mpi_transport(std::chrono::milliseconds patience);

/// The same; of a worker that is one rank, a group of that one.
Result<std::unique_ptr<Transport>> make_transport(int ranks, std::chrono::milliseconds patience);

/// Some of the worker's ranks, in the order given. Those ranks call it, and no others, with the same `tag`; another
/// group that is made at the same time has another one.
Result<std::unique_ptr<Transport>> make_mpi_group(std::span<const int> ranks, std::uint64_t tag,
                                                  std::chrono::milliseconds patience);

}  // namespace orch::comm
