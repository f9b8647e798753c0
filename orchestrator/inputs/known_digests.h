// Digests of files that were read before, so that large ones are read once: by each file's path, size, number and
// times.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace orch::inputs {

class KnownDigests {
 public:
  /// `file`: where they are remembered; it is made, and may be removed at any time. Empty: nowhere.
  explicit KnownDigests(std::filesystem::path file);

  /// What `path` is now: empty where it cannot be looked at, or is no regular file.
  static std::string state_of(const std::filesystem::path& path);

  const std::string* find(const std::filesystem::path& path, const std::string& state) const;
  void add(const std::filesystem::path& path, std::string state, std::string digest);

  /// SHA-256 of the file's bytes, hexadecimal, read where it is not known; empty where it cannot be read, or changes
  /// while it is.
  std::string digest_of(const std::filesystem::path& path);

  /// Losing it costs time alone, so nothing is said where it cannot be written.
  void keep();

 private:
  struct Entry {
    std::string state, digest;
  };
  const std::filesystem::path file_;
  std::map<std::string, Entry> entries_;
  bool changed_ = false;
};

}  // namespace orch::inputs
