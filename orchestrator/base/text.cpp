#include "base/text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "base/units.h"

namespace orch {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Length of the UTF-8 sequence at the start of `s`, or 0 when there is none.
std::size_t sequence(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  std::uint32_t code = 0;
  if ((first & 0xE0) == 0xC0) {
    length = 2;
    code = first & 0x1F;
  } else if ((first & 0xF0) == 0xE0) {
    length = 3;
    code = first & 0x0F;
  } else if ((first & 0xF8) == 0xF0) {
    length = 4;
    code = first & 0x07;
  } else {
    return 0;
  }
  if (s.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (at(i) & 0x3F);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
  return length;
}

/// Edits (insert, delete, replace, swap of neighbours) between two names, case ignored; stops counting past `most`.
std::size_t edits(std::string_view a, std::string_view b, std::size_t most) {
  if (a.size() > b.size() + most || b.size() > a.size() + most) return most + 1;
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower_char(a[i - 1]) == lower_char(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && lower_char(a[i - 1]) == lower_char(b[j - 2]) &&
          lower_char(a[i - 2]) == lower_char(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string letters_and_digits(std::string_view text) {
  std::string out;
  for (char c : lower(text))
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
  return out;
}

/// The shortest of `known` that begins with `name`, else that holds it, as letters and digits alone.
std::optional<std::string> shortened(std::string_view name, std::span<const std::string> known) {
  const std::string wanted = letters_and_digits(name);
  if (wanted.size() < 3) return std::nullopt;
  std::optional<std::string> begins, holds;
  for (const std::string& candidate : known) {
    const std::size_t at = letters_and_digits(candidate).find(wanted);
    if (at == std::string::npos) continue;
    std::optional<std::string>& best = at == 0 ? begins : holds;
    if (!best || candidate.size() < best->size()) best = candidate;
  }
  return begins ? begins : holds;
}

/// U+202A…U+202E and U+2066…U+2069 turn the direction of what follows: a name could look like another.
bool turns_text(std::string_view character) {
  return (character >= "\u202a" && character <= "\u202e") || (character >= "\u2066" && character <= "\u2069");
}

}  // namespace

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string joined;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i) joined += separator;
    joined += parts[i];
  }
  return joined;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower_char);
  return out;
}

bool is_utf8(std::string_view bytes) { return utf8_prefix(bytes) == bytes.size(); }

std::size_t utf8_prefix(std::string_view bytes) {
  std::size_t sound = 0;
  while (sound < bytes.size()) {
    const std::size_t length = sequence(bytes.substr(sound));
    if (length == 0) break;
    sound += length;
  }
  return sound;
}

std::string shown(std::string_view text, std::size_t most) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= most) return out + "…";
    const auto c = static_cast<unsigned char>(text.front());
    const std::size_t length = sequence(text);
    // U+0080…U+009F steer terminals as the C0 controls do.
    const bool steering =
        c < 0x20 || c == 0x7F || (c == 0xC2 && length == 2 && static_cast<unsigned char>(text[1]) < 0xA0);
    if (length == 0 || steering || turns_text(text.substr(0, length))) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", c);
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : escape;
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

std::string quote(std::string_view text) { return "'" + shown(text) + "'"; }

bool is_glob(std::string_view pattern) { return pattern.find_first_of("*?") != std::string_view::npos; }

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::optional<std::string> nearest(std::string_view name, std::span<const std::string> known) {
  if (name.size() > 100) return std::nullopt;
  std::size_t best = std::max<std::size_t>(1, name.size() / 3);
  // Of equals the one that begins alike longest: a forgotten end is likelier than a wrong letter inside.
  std::size_t alike = 0;
  std::optional<std::string> found;
  for (const std::string& candidate : known) {
    const std::size_t distance = edits(name, candidate, best);
    if (distance > best) continue;
    const auto begins = static_cast<std::size_t>(std::ranges::mismatch(name, candidate).in1 - name.begin());
    if (found && distance == best && begins <= alike) continue;
    best = distance;
    alike = begins;
    found = candidate;
  }
  return found ? found : shortened(name, known);
}

std::string hint(std::string_view name, std::span<const std::string> known) {
  const auto near = nearest(name, known);
  return near ? "; did you mean " + quote(*near) + "?" : "";
}

std::string hint_sentence(std::string_view name, std::span<const std::string> known) {
  const std::string text = hint(name, known);
  return text.empty() ? "." : text;
}

std::string counted(long long n, std::string_view one, std::string_view many) {
  const std::string plural = many.empty() ? std::string(one) + "s" : std::string(many);
  return grouped(n) + " " + (n == 1 ? std::string(one) : plural);
}

}  // namespace orch
