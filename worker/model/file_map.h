// A file's bytes in memory, read as they are looked at.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"

namespace orch::model {

class FileMap {
 public:
  static Result<std::shared_ptr<const FileMap>> open(const std::filesystem::path& path);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// This process lets go of what it has looked at; what it looks at again is read again.
  void forget() const;

 private:
  FileMap(const std::byte* data, std::size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace orch::model
