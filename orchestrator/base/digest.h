// SHA-256, and the one way in which content becomes the bytes that are hashed.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace orch {

struct Digest {
  std::array<std::uint8_t, 32> bytes{};
  auto operator<=>(const Digest&) const = default;
};

Digest sha256(std::string_view bytes);
std::string to_hex(const Digest& digest);

/// JSON with keys in byte order, no blanks, whole numbers without a point (1.0 is 1), other numbers in the shortest
/// form that reads back the same. Equal content gives equal bytes.
std::string canonical_json(const nlohmann::json& value);

}  // namespace orch
