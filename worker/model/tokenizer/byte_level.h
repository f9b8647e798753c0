// GPT-2's alphabet: a printable character for each of the 256 bytes, so that every text is made of known characters.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace orch::tokenizer {

/// The character that stands for each byte.
const std::array<char32_t, 256>& byte_characters();
/// The same in UTF-8.
const std::array<std::string, 256>& byte_texts();
/// The byte that a character stands for, if it stands for one.
std::optional<unsigned char> byte_of(char32_t c);
/// The bytes that the text stands for, or nothing when one of its characters stands for none.
std::optional<std::string> bytes_of(std::string_view text);

}  // namespace orch::tokenizer
