#include "model/tokenizer/byte_level.h"

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

}  // namespace

const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> kCharacters = [] {
    std::array<char32_t, 256> characters = {};
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) characters[byte] = stands_for_itself(byte) ? byte : next++;
    return characters;
  }();
  return kCharacters;
}

const std::array<std::string, 256>& byte_texts() {
  static const std::array<std::string, 256> kTexts = [] {
    std::array<std::string, 256> texts;
    for (std::size_t byte = 0; byte < 256; ++byte) texts[byte] = to_utf8(byte_characters()[byte]);
    return texts;
  }();
  return kTexts;
}

std::optional<unsigned char> byte_of(char32_t c) {
  static const std::array<short, 512> kBytes = [] {
    std::array<short, 512> bytes;
    bytes.fill(-1);
    for (std::size_t byte = 0; byte < 256; ++byte) bytes[byte_characters()[byte]] = static_cast<short>(byte);
    return bytes;
  }();
  if (c >= kBytes.size() || kBytes[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(kBytes[c]);
}

std::optional<std::string> bytes_of(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    const auto byte = byte_of(c.value);
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
    at += c.size;
  }
  return bytes;
}

}  // namespace orch::tokenizer
