// Which system calls a confined program may make: all but those that a test never needs, and that change mounts,
// namespaces or other processes, load code into the kernel, take memory that no limit counts, or have opened many
// holes. Calls that were not known when this was written are not there at all.
//
// The filter is a few comparisons in the kernel's own language, so that no library is needed for it.
#pragma once

#include <linux/filter.h>

#include <vector>

namespace orch::sandbox {

/// For the processor that this is compiled for. Empty: it is not one of x86-64 and arm64, and nothing may be run.
std::vector<sock_filter> filter();

}  // namespace orch::sandbox
