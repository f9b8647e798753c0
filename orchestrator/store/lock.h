// Who may write in a state directory: whoever holds the lock of its file orch.lock, which says who that is.
//
// Holds: the kernel gives the lock back when the process ends, however it ends. The file stays, and means nothing
// without its lock.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>

#include "base/result.h"

namespace orch::store {

class DirectoryLock {
 public:
  /// For the one who writes. Readers are waited for, a writer is not; the error says which process has it.
  static Result<DirectoryLock> hold(const std::filesystem::path& directory, std::chrono::milliseconds patience);

  DirectoryLock(DirectoryLock&& other) noexcept : file_(other.file_) { other.file_ = -1; }
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~DirectoryLock();

 private:
  friend struct ReaderLock;
  explicit DirectoryLock(int file) : file_(file) {}
  int file_ = -1;
};

/// What one who only reads finds out, and changes nothing for it.
struct ReaderLock {
  static ReaderLock of(const std::filesystem::path& directory);

  std::optional<DirectoryLock> lock;  ///< nobody writes, and while this is held nobody will
  bool writer = false;                ///< somebody writes; with neither nobody ever did
};

}  // namespace orch::store
