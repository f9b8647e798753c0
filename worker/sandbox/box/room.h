// The file system that a confined program sees: the system's programs and libraries to read, three folders in memory to
// write, a /proc and a /dev of its own, and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orch::sandbox {

/// A step of the way into the box that can fail, and for what reason.
struct Failure {
  const char* step = nullptr;  ///< nothing: it did not fail
  int error = 0;               ///< errno
};

/// In new namespaces, with all rights in them: makes the room and goes into it. What was there before cannot be reached
/// any more. `disk`: bytes that may be written.
Failure enter_room(const std::vector<std::string>& read_only, std::uint64_t disk);

}  // namespace orch::sandbox
