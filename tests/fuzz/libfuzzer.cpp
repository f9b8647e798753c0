// libFuzzer's entry. ORCH_FUZZ_TARGET is the target's function, given by CMake for each program.
#include <cstddef>
#include <cstdint>
#include <string>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size on the heap: reading one byte past it is seen.
  const std::string bytes(data, data + size);
  orch::fuzz::ORCH_FUZZ_TARGET(bytes);
  return 0;
}
