#include "base/digest.h"

#include <openssl/sha.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace orch {
namespace {

using nlohmann::json;

void write_number(std::string& out, double value) {
  char digits[64];
  std::to_chars_result end{};
  if (!std::isfinite(value)) {
    out += "null";  // JSON has no other word; a reader of files lets none through
    return;
  }
  // Whole numbers look the same whether they were kept as integers or not; 2^64 is past the largest integer.
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (value == std::trunc(value) && value >= -kTwoTo63 && value < 2 * kTwoTo63) {
    end = value < 0 ? std::to_chars(digits, digits + sizeof digits, static_cast<std::int64_t>(value))
                    : std::to_chars(digits, digits + sizeof digits, static_cast<std::uint64_t>(value));
  } else {
    end = std::to_chars(digits, digits + sizeof digits, value);
  }
  out.append(digits, end.ptr);
}

void write_text(std::string& out, const std::string& text) {
  out += json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

void write(std::string& out, const json& value) {
  switch (value.type()) {
    case json::value_t::object: {
      // nlohmann's object is a std::map of std::string, so it is walked in byte order.
      out += '{';
      bool first = true;
      for (const auto& [key, member] : value.items()) {
        if (!first) out += ',';
        first = false;
        write_text(out, key);
        out += ':';
        write(out, member);
      }
      out += '}';
      return;
    }
    case json::value_t::array: {
      out += '[';
      bool first = true;
      for (const json& item : value) {
        if (!first) out += ',';
        first = false;
        write(out, item);
      }
      out += ']';
      return;
    }
    case json::value_t::string:
      write_text(out, value.get_ref<const std::string&>());
      return;
    case json::value_t::number_float:
      write_number(out, value.get<double>());
      return;
    case json::value_t::number_integer:
      out += std::to_string(value.get<std::int64_t>());
      return;
    case json::value_t::number_unsigned:
      out += std::to_string(value.get<std::uint64_t>());
      return;
    case json::value_t::boolean:
      out += value.get<bool>() ? "true" : "false";
      return;
    case json::value_t::null:
    case json::value_t::binary:
    case json::value_t::discarded:
      out += "null";
      return;
  }
}

}  // namespace

Digest sha256(std::string_view bytes) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.bytes.data());
  return digest;
}

std::string to_hex(const Digest& digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * digest.bytes.size());
  for (const std::uint8_t byte : digest.bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string canonical_json(const nlohmann::json& value) {
  std::string out;
  write(out, value);
  return out;
}

}  // namespace orch
