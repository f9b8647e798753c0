// Number formats of weights, of the KV cache and of computation.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace orch {

enum class DType { kFp32, kBf16, kFp16, kFp8, kInt8, kInt4 };

inline constexpr std::array kDTypes = {DType::kFp32, DType::kBf16, DType::kFp16,
                                       DType::kFp8,  DType::kInt8, DType::kInt4};

/// Bytes of one element; half a byte for int4. Scales of quantised weights come on top (see memory.h).
constexpr double bytes_of(DType dtype) {
  switch (dtype) {
    case DType::kFp32:
      return 4;
    case DType::kBf16:
    case DType::kFp16:
      return 2;
    case DType::kFp8:
    case DType::kInt8:
      return 1;
    case DType::kInt4:
      return 0.5;
  }
  return 0;
}

/// `bf16`, `fp8`, …: as written in files.
constexpr std::string_view name_of(DType dtype) {
  constexpr std::array<std::string_view, 6> kNames = {"fp32", "bf16", "fp16", "fp8", "int8", "int4"};
  return kNames[static_cast<std::size_t>(dtype)];
}

constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (DType dtype : kDTypes)
    if (name_of(dtype) == name) return dtype;
  return std::nullopt;
}

}  // namespace orch
