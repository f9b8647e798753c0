// Ranks that are processes, held together by MPI. Only mpi_transport.cpp and ranks.cpp know MPI.
#pragma once

#include <chrono>
#include <memory>

#include "comm/transport.h"

namespace orch::comm {

/// All ranks of this worker (see worker/comm/ranks.h, which starts MPI). An error where there is no MPI.
Result<std::unique_ptr<Transport>> make_mpi_transport(std::chrono::milliseconds patience);

}  // namespace orch::comm
