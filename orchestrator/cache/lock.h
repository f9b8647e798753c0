// Locks of the cache: files in its .locks/orch folder (the hub's own listings pass over .locks), and in a folder that
// models are staged to.
//
// Holds: the kernel gives a lock back when its process ends, however it ends. The files stay and mean nothing by
// themselves.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "cache/names.h"

namespace orch::cache {

class Lock {
 public:
  enum class Kind { kShared, kExclusive };

  /// Nothing when another process has it.
  static Result<std::optional<Lock>> try_take(const std::filesystem::path& file, Kind kind);
  /// Waits for it. `on_wait` is called once if it must, with who has it.
  static Result<Lock> take(const std::filesystem::path& file, Kind kind,
                           const std::function<void(const std::string&)>& on_wait);

  Lock(Lock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  Lock& operator=(Lock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~Lock();

 private:
  explicit Lock(int file) : file_(file) {}
  static Result<Lock> open_file(const std::filesystem::path& file);
  int file_ = -1;
};

/// One download at a time: two would count the same free bytes.
std::filesystem::path fetch_lock(const std::filesystem::path& root);
/// One clean-up at a time.
std::filesystem::path prune_lock(const std::filesystem::path& root);
/// Shared by those who add to a repository or read it, exclusive for the one who removes from it.
std::filesystem::path repo_lock(const std::filesystem::path& root, const RepoName& name);

/// Whether some program downloads into the repository just now, by the locks that the hub's own programs take.
bool hub_is_at_work(const std::filesystem::path& root, const RepoName& name);

}  // namespace orch::cache
