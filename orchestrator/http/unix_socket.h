// A Unix socket's name in the file system: taken when it is free or left behind by a dead process, given back at the
// end. Internal to this folder.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "base/result.h"

namespace orch::http {

/// A listening socket. Who holds it closes `fd` and calls remove().
struct UnixSocket {
  int fd = -1;
  std::filesystem::path path;
  dev_t device = 0;
  ino_t inode = 0;
};

/// The file has exactly `mode`, and never more than that.
Result<UnixSocket> listen_unix(const std::filesystem::path& path, mode_t mode);

/// Removes the name, unless something else has it by now.
void remove_name(const UnixSocket& socket);

}  // namespace orch::http
