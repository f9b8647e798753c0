// In which formats a decoder keeps its weights and computes, and which there are.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace orch::model {

struct Formats {
  Formats(DType both) : compute(both), weights(both) {}  // NOLINT(google-explicit-constructor): most have one
  Formats(DType computes, DType keeps) : compute(computes), weights(keeps) {}
  DType compute;
  DType weights;  ///< of linear layers; embedding, head and norms are kept as is computed, the router in fp32
};

inline std::optional<DType> one_of(std::string_view name, std::initializer_list<DType> known) {
  const auto named = dtype_named(name);
  for (const DType each : known)
    if (named == each) return named;
  return std::nullopt;
}

// By the names that users write; none where the engine has no such format.
inline std::optional<DType> compute_format(std::string_view name) {
  return one_of(name, {DType::kFp32, DType::kBf16, DType::kFp16});
}
/// That weights are made into on load, rather than kept as is computed.
inline std::optional<DType> smaller_weight_format(std::string_view name) { return one_of(name, {DType::kInt8}); }
inline std::optional<DType> cache_format(std::string_view name) {
  return one_of(name, {DType::kFp32, DType::kBf16, DType::kFp16, DType::kFp8});
}

}  // namespace orch::model
