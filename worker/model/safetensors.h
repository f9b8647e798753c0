// A file of tensors: 8 bytes of length, a JSON header, then numbers. https://github.com/huggingface/safetensors
//
// Holds: every tensor lies whole in the file, has as many bytes as its shape and type say, and overlaps no other. A
// file of which one is not so is refused whole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/file_map.h"

namespace orch::model {

/// How the numbers of a file are written.
enum class Stored : std::uint8_t { kF64, kF32, kF16, kBf16, kF8E4M3, kF8E5M2, kI64, kI32, kI16, kI8, kU8, kBool };
std::string_view name_of(Stored stored);
std::size_t bytes_of(Stored stored);
/// 4096 × 1024.
std::string shape_text(const std::vector<std::int64_t>& shape);

struct Tensor {
  Stored stored = Stored::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::int64_t count() const;
};

class Safetensors {
 public:
  static Result<Safetensors> open(const std::filesystem::path& path);
  /// Of bytes that outlive it; `name` is for messages.
  static Result<Safetensors> parse(std::span<const std::byte> file, const std::string& name);

  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  /// As FileMap::forget().
  void forget() const {
    if (file_) file_->forget();
  }

 private:
  std::shared_ptr<const FileMap> file_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace orch::model
