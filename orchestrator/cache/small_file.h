// Opening files that others may have put there: links are not followed, and no more is read than was asked for.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace orch::cache {

class OpenFile {
 public:
  /// For reading. A regular file, not a link to one; reading it does not change when it was last read, where the
  /// system lets us.
  static OpenFile to_read(const std::filesystem::path& path);
  static OpenFile to_write_new(const std::filesystem::path& path);

  OpenFile(OpenFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  OpenFile& operator=(OpenFile&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~OpenFile();
  explicit operator bool() const { return file_ >= 0; }
  int get() const { return file_; }
  /// As many bytes as are there, at most `most`; -1: errno says why.
  ssize_t read(char* to, std::size_t most) const;

 private:
  explicit OpenFile(int file) : file_(file) {}
  int file_ = -1;
};

/// The whole content; nothing where it is larger, no regular file, or cannot be read.
std::optional<std::string> read_small(const std::filesystem::path& path, std::size_t most);

/// Itself a folder, not a link to one.
bool is_real_folder(const std::filesystem::path& path);
bool is_real_file(const std::filesystem::path& path);

}  // namespace orch::cache
