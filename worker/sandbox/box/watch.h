// Runs one program in a box, watches it from outside, and ends all of it when it is over or has taken more than it may.
//
// Holds:
//  - When run() returns no process of the box is left, and with the last of them its mounts and files are gone.
//  - What a program prints is read as fast as it comes, and only the first of it is kept.
#pragma once

#include "sandbox/wire.h"

namespace orch::sandbox {

/// `caller`: a socket whose other end closing means that nobody waits for the outcome; then nothing is returned.
/// The process must have one thread, and no child.
std::optional<Outcome> run(const Request& request, int caller);

}  // namespace orch::sandbox
