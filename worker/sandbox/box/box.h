// The processes in the box: the first of its namespaces, which makes the room and collects what ends, and the program.
//
// Holds:
//  - The program starts with no right, in no group of ours, with no descriptor but the four that it is given, below its
//    limits, and with the system calls of filter.h.
//  - When the first process ends, the kernel ends all others of the box; when orch-sandbox ends, the first one does.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "sandbox/box/room.h"
#include "sandbox/wire.h"

namespace orch::sandbox {

/// What the first process says, once or twice: how far it came, and how the program ended. Pointers are good on both
/// sides: they are copies of one process.
struct Word {
  Failure failure;  ///< of the way into the box
  bool ended = false;
  int status = 0;          ///< of the program, as of waitpid
  double cpu_seconds = 0;  ///< of it, and of its processes that it or the first one has waited for
};

/// The box's ends. All are above those that the program gets, and close when it starts.
struct Channels {
  int gate = -1;   ///< one byte when the users of the namespace are set; its end when orch-sandbox is gone
  int words = -1;  ///< Word
  int output = -1, errors = -1, report = -1;
};

/// A process in new namespaces of users, mounts, processes, network, messages and names; -1 and errno.
pid_t clone_into_box();

/// Sets who the box's user is, outside of it: nobody where we are root, so that nothing of root's can be read or
/// changed and its count of processes is not exempt; otherwise ourselves.
Failure set_users(pid_t box);

/// In the new process. Never returns.
[[noreturn]] void live_in_box(const Request& request, const Channels& channels);

}  // namespace orch::sandbox
