#include "model/tokenizer/utf8.h"

#include <cstring>

namespace orch::tokenizer {

void append_utf8(std::string& text, char32_t c) {
  const auto push = [&text](char32_t byte) { text.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (c < 0x80) {
    push(c);
  } else if (c < 0x800) {
    push(0xC0 | c >> 6);
    push(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    push(0xE0 | c >> 12);
    push(0x80 | (c >> 6 & 0x3F));
    push(0x80 | (c & 0x3F));
  } else {
    push(0xF0 | c >> 18);
    push(0x80 | (c >> 12 & 0x3F));
    push(0x80 | (c >> 6 & 0x3F));
    push(0x80 | (c & 0x3F));
  }
}

std::string to_utf8(char32_t c) {
  std::string text;
  append_utf8(text, c);
  return text;
}

Utf8Step utf8_step(std::string_view bytes, std::size_t at) {
  const auto byte = [bytes, at](std::size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {1, true};
  const std::uint32_t size = first >= 0xC2 && first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (first < 0xC2 || first > 0xF4) return {1, false};
  // The second byte's range rules out overlong forms, surrogates and what lies past U+10FFFF.
  const unsigned least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (std::uint32_t i = 1; i < size; ++i) {
    if (at + i >= bytes.size()) return {i, false};
    const unsigned next = byte(i);
    if (next < (i == 1 ? least : 0x80u) || next > (i == 1 ? most : 0xBFu)) return {i, false};
  }
  return {size, true};
}

bool sound_utf8(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (at + 8 <= bytes.size()) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, bytes.data() + at, 8);
      if ((eight & 0x8080808080808080ULL) == 0) {
        at += 8;
        continue;
      }
    }
    const Utf8Step step = utf8_step(bytes, at);
    if (!step.sound) return false;
    at += step.size;
  }
  return true;
}

std::string lossy_utf8(std::string_view bytes) {
  if (sound_utf8(bytes)) return std::string(bytes);
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    text += step.sound ? bytes.substr(at, step.size) : kReplacement;
    at += step.size;
  }
  return text;
}

}  // namespace orch::tokenizer
