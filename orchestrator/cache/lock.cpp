#include "cache/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

/// What the holder wrote: `process 123 on host login1`.
std::string read_holder(int file) {
  std::array<char, 256> text{};
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  const std::string_view holder = size > 0 ? trim({text.data(), static_cast<std::size_t>(size)}) : "";
  return holder.empty() ? "another process" : shown(holder);
}

/// For people only: a file system that refuses it costs nothing but the name in a message.
void write_holder(int file) {
  std::array<char, 128> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return;
  const std::string text = "process " + std::to_string(getpid()) + " on host " + host.data() + "\n";
  if (ftruncate(file, 0) != 0 || pwrite(file, text.data(), text.size(), 0) < 0) return;
}

/// 0, or errno.
int lock_file(int file, int operation) {
  while (flock(file, operation) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

Error cannot(const fs::path& file, const char* what) {
  return {file.string() + ": cannot be " + what + " (" + std::strerror(errno) + ")"};
}

}  // namespace

Lock::~Lock() {
  if (file_ >= 0) close(file_);
}

Result<Lock> Lock::open_file(const fs::path& file) {
  std::error_code ignored;
  fs::create_directories(file.parent_path(), ignored);
  // In a cache that several people share, each must be able to take it.
  Lock lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (lock.file_ < 0) return cannot(file, "opened as a lock");
  return lock;
}

Result<std::optional<Lock>> Lock::try_take(const fs::path& file, Kind kind) {
  auto lock = open_file(file);
  if (!lock) return lock.error();
  const int failed = lock_file(lock->file_, (kind == Kind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB);
  if (failed == EWOULDBLOCK) return std::optional<Lock>();
  if (failed != 0) {
    errno = failed;
    return cannot(file, "locked");
  }
  if (kind == Kind::kExclusive) write_holder(lock->file_);
  return std::optional<Lock>(*std::move(lock));
}

Result<Lock> Lock::take(const fs::path& file, Kind kind, const std::function<void(const std::string&)>& on_wait) {
  auto first = try_take(file, kind);
  if (!first) return first.error();
  if (*first) return **std::move(first);
  auto lock = open_file(file);
  if (!lock) return lock.error();
  if (on_wait) on_wait(read_holder(lock->file_));
  if (const int failed = lock_file(lock->file_, kind == Kind::kShared ? LOCK_SH : LOCK_EX); failed != 0) {
    errno = failed;
    return cannot(file, "locked");
  }
  if (kind == Kind::kExclusive) write_holder(lock->file_);
  return lock;
}

fs::path fetch_lock(const fs::path& root) { return root / ".locks" / "orch" / "fetch.lock"; }
fs::path prune_lock(const fs::path& root) { return root / ".locks" / "orch" / "prune.lock"; }
fs::path repo_lock(const fs::path& root, const RepoName& name) {
  return root / ".locks" / "orch" / (folder_of(name) + ".lock");
}

bool hub_is_at_work(const fs::path& root, const RepoName& name) {
  std::error_code failed;
  for (fs::directory_iterator at(root / ".locks" / folder_of(name), failed), end; !failed && at != end;
       at.increment(failed)) {
    const int file = open(at->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) continue;
    const int held = lock_file(file, LOCK_SH | LOCK_NB);
    close(file);
    if (held == EWOULDBLOCK) return true;
  }
  return false;
}

}  // namespace orch::cache
