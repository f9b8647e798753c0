#include "base/descriptor.h"

#include <unistd.h>

#include <cerrno>

namespace orch {

void Descriptor::close() {
  if (number_ < 0) return;
  const int error = errno;
  ::close(std::exchange(number_, -1));
  errno = error;
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace orch
