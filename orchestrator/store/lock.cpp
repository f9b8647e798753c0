#include "store/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "base/text.h"

namespace orch::store {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBetweenTries{20};

std::filesystem::path file_in(const std::filesystem::path& directory) { return directory / "orch.lock"; }

/// What the holder wrote: `process 123 on host login1`.
std::string read_holder(int file) {
  std::array<char, 512> text{};
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  const std::string_view holder = size > 0 ? trim({text.data(), static_cast<std::size_t>(size)}) : "";
  return holder.empty() ? "another process" : shown(holder);
}

std::string write_holder(int file) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "unknown");
  const std::string text = "process " + std::to_string(getpid()) + " on host " + host.data() + "\n";
  if (ftruncate(file, 0) != 0 || pwrite(file, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return std::strerror(errno);
  return "";
}

}  // namespace

DirectoryLock::~DirectoryLock() {
  if (file_ >= 0) close(file_);
}

Result<DirectoryLock> DirectoryLock::hold(const std::filesystem::path& directory, milliseconds patience) {
  const std::filesystem::path path = file_in(directory);
  DirectoryLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.file_ < 0) return Error{path.string() + ": cannot be opened for writing (" + std::strerror(errno) + ")"};
  const auto until = std::chrono::steady_clock::now() + patience;
  while (flock(lock.file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return Error{path.string() + ": cannot be locked (" + std::strerror(errno) + ")"};
    if (flock(lock.file_, LOCK_SH | LOCK_NB) != 0)
      return Error{directory.string() + " is in use by " + read_holder(lock.file_) +
                   "; end that daemon first, or give another directory with --state"};
    flock(lock.file_, LOCK_UN);
    if (std::chrono::steady_clock::now() >= until)
      return Error{directory.string() + " has been read by another program for " +
                   std::to_string(std::chrono::duration_cast<std::chrono::seconds>(patience).count()) +
                   " s; a daemon can start once that program has ended"};
    std::this_thread::sleep_for(kBetweenTries);
  }
  if (const std::string why = write_holder(lock.file_); !why.empty())
    return Error{path.string() + ": cannot be written (" + why + ")"};
  return lock;
}

ReaderLock ReaderLock::of(const std::filesystem::path& directory) {
  ReaderLock found;
  DirectoryLock lock(open(file_in(directory).c_str(), O_RDONLY | O_CLOEXEC));
  if (lock.file_ < 0)
    found.writer = errno != ENOENT;
  else if (flock(lock.file_, LOCK_SH | LOCK_NB) != 0)
    found.writer = true;
  else
    found.lock = std::move(lock);
  return found;
}

}  // namespace orch::store
