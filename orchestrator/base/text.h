// Small things done to text that the standard library does not do.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orch {

std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string lower(std::string_view text);

/// Whether the bytes are UTF-8: shortest forms only, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view bytes);
/// Bytes of the longest beginning that is UTF-8.
std::size_t utf8_prefix(std::string_view bytes);

/// The text with control characters written as escapes and overlong text cut, so that it can stand in a message
/// whatever it holds.
std::string shown(std::string_view text, std::size_t most = 80);

/// `'text'`, made safe by shown().
std::string quote(std::string_view text);

/// Whether `text` matches `pattern`, in which * stands for any run of characters and ? for one. Linear in time times
/// pattern.
bool glob_match(std::string_view pattern, std::string_view text);
bool is_glob(std::string_view pattern);

/// The known name nearest to `name`: the one with the fewest single-character edits (at most a third of its length,
/// case ignored); else the shortest that begins with it, or holds it, punctuation ignored (`mixtral`, `72b-fp8`); or
/// none.
std::optional<std::string> nearest(std::string_view name, std::span<const std::string> known);

/// `; did you mean 'x'?` or nothing: the tail of a message about a name that is not known.
std::string hint(std::string_view name, std::span<const std::string> known);

/// As hint(), ended so that another sentence can follow: `; did you mean 'x'?` or `.`.
std::string hint_sentence(std::string_view name, std::span<const std::string> known);

/// `1 job`, `2 jobs`.
std::string counted(long long n, std::string_view one, std::string_view many = {});

}  // namespace orch
