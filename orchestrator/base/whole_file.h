// Files that are there whole or not at all, also after a crash: written aside, synced, renamed, and the folder synced.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/descriptor.h"
#include "base/result.h"

namespace orch {

/// A file that is being written. One that is not finished leaves nothing behind.
class WholeFile {
 public:
  /// `mode`: who may read it, from the moment that it is there.
  static Result<WholeFile> open(const std::filesystem::path& file, mode_t mode = 0600);
  WholeFile(WholeFile&& other) noexcept = default;
  WholeFile& operator=(WholeFile&&) = delete;
  ~WholeFile();

  Result<std::monostate> append(std::string_view bytes);
  Result<std::monostate> append(std::span<const std::byte> bytes) {
    return append(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  Result<std::monostate> finish();

 private:
  WholeFile(std::filesystem::path file, std::filesystem::path aside, Descriptor out, mode_t mode)
      : file_(std::move(file)), aside_(std::move(aside)), out_(std::move(out)), mode_(mode) {}

  std::filesystem::path file_, aside_;
  Descriptor out_;
  mode_t mode_;
};

Result<std::monostate> write_whole(const std::filesystem::path& file, std::string_view text, mode_t mode = 0600);

/// All of a file that is no larger than `most` bytes.
Result<std::string> read_small(const std::filesystem::path& file, std::size_t most);

/// Where the file system can.
void sync_folder(const std::filesystem::path& folder);

/// What was to be done, and errno's own words.
Error system_error(const std::string& what);

}  // namespace orch
