#include "cache/small_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace orch::cache {

namespace fs = std::filesystem;

OpenFile::~OpenFile() {
  if (file_ >= 0) close(file_);
}

OpenFile OpenFile::to_read(const fs::path& path) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  // Only the owner may leave the time as it is.
  OpenFile file(open(path.c_str(), kFlags | O_NOATIME));
  if (!file && errno == EPERM) file = OpenFile(open(path.c_str(), kFlags));
  struct stat status {};
  if (file && (fstat(file.file_, &status) != 0 || !S_ISREG(status.st_mode))) {
    file = OpenFile(-1);
    errno = EINVAL;
  }
  return file;
}

OpenFile OpenFile::to_write_new(const fs::path& path) {
  return OpenFile(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
}

ssize_t OpenFile::read(char* to, std::size_t most) const {
  std::size_t got = 0;
  while (got < most) {
    const ssize_t now = ::read(file_, to + got, most - got);
    if (now < 0 && errno == EINTR) continue;
    if (now < 0) return -1;
    if (now == 0) break;
    got += static_cast<std::size_t>(now);
  }
  return static_cast<ssize_t>(got);
}

std::optional<std::string> read_small(const fs::path& path, std::size_t most) {
  const OpenFile file = OpenFile::to_read(path);
  struct stat status {};
  if (!file || fstat(file.get(), &status) != 0 || static_cast<std::size_t>(status.st_size) > most) return std::nullopt;
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const ssize_t got = file.read(text.data(), text.size());
  if (got < 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(got));
  return text;
}

bool is_real_folder(const fs::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_real_file(const fs::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace orch::cache
