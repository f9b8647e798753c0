// The CPU: ops run where they are called, on its threads.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace orch::kernels {

struct CpuOptions {
  int threads = 1;
  /// Memory that may be taken, in bytes; 0: as much as there is. Tests make it small.
  std::size_t memory = 0;
  /// One of the names of cpu::all_loops(); empty: the best.
  std::string_view loops;
};
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

/// Whether this processor has instructions for products of bf16: without them bf16 saves memory alone, and takes
/// longer.
bool cpu_multiplies_bf16();

}  // namespace orch::kernels
