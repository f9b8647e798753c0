// Writes what model/safetensors.h reads.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/safetensors.h"

namespace orch::model {

struct WrittenTensor {
  Stored stored = Stored::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// The file is there whole or not at all.
Result<std::monostate> write_safetensors(const std::filesystem::path& file,
                                         const std::map<std::string, WrittenTensor>& tensors,
                                         const std::map<std::string, std::string>& metadata = {});

}  // namespace orch::model
