#include "model/tokenizer/charsmap.h"

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

// A unit of the double array: the label in its low byte, whether a value follows, and how far its children lie.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & (1u << 31 | 0xFF); }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::read(std::string_view bytes) {
  const auto word = [bytes](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
    return value;
  };
  if (bytes.size() < 4) return Error{"the precompiled_charsmap is cut short"};
  const std::size_t size = word(0);
  if (size > bytes.size() - 4 || size % 4 != 0 || size == 0)
    return Error{"the precompiled_charsmap has " + std::to_string(bytes.size() - 4) + " bytes for a trie of " +
                 std::to_string(size)};
  Charsmap map;
  for (std::size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(word(at));
  map.texts_ = bytes.substr(4 + size);
  if (!sound_utf8(map.texts_)) return Error{"the texts of the precompiled_charsmap are not UTF-8"};
  return map;
}

std::optional<std::string_view> Charsmap::replacement(std::string_view text) const {
  std::size_t node = offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    const std::size_t begin = units_[node] & 0x7FFFFFFF;
    if (begin > texts_.size() || (begin < texts_.size() && continues(texts_[begin]))) break;
    return std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin);
  }
  return std::nullopt;
}

std::optional<std::string> from_base64(std::string_view text) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    held = (held << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFFF;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(static_cast<unsigned char>(held >> bits & 0xFF));
  }
  return bytes;
}

}  // namespace orch::tokenizer
