// UTF-8, read and written a character at a time. Text inside the tokenizer is always sound UTF-8: what comes from
// outside passes through utf8_step() first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace orch::tokenizer {

struct Character {
  char32_t value;
  std::uint32_t size;  ///< in bytes
};

/// The character that begins at `at`, of sound UTF-8.
inline Character character_at(std::string_view text, std::size_t at) {
  const auto byte = [text, at](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu), 4};
}

/// Whether the byte is inside a character, not at its beginning.
inline bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// The last character of sound UTF-8 that is not empty.
inline Character last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && continues(text[at])) --at;
  return character_at(text, at);
}

inline std::uint32_t utf8_size(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

void append_utf8(std::string& text, char32_t c);
std::string to_utf8(char32_t c);

/// One step over bytes that may be anything: a sound character, or the longest beginning of one that is broken off
/// (at least one byte), for which one U+FFFD stands. Python's decoder and Rust's lossy one cut in the same places.
struct Utf8Step {
  std::uint32_t size;
  bool sound;
};
Utf8Step utf8_step(std::string_view bytes, std::size_t at);

/// Whether all of it is sound; runs of ASCII are looked at eight bytes at a time.
bool sound_utf8(std::string_view bytes);

/// The bytes with U+FFFD for what is not sound.
std::string lossy_utf8(std::string_view bytes);

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace orch::tokenizer
