#include "model/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

utf8proc_int32_t code(char32_t c) { return static_cast<utf8proc_int32_t>(c); }

bool between(utf8proc_category_t category, utf8proc_category_t first, utf8proc_category_t last) {
  return category >= first && category <= last;
}

int combining_class(char32_t c) {
  return c < 0x300 ? 0 : static_cast<int>(utf8proc_get_property(code(c))->combining_class);
}

/// The character that two make, or 0. utf8proc has no call for a pair; a string of two is normalised instead.
char32_t composed(char32_t first, char32_t second) {
  // What can follow in a composition is a mark, a Hangul vowel or final, or one of a few letters past U+0300.
  if (second < 0x300) return 0;
  std::array<utf8proc_int32_t, 3> pair = {code(first), code(second), 0};
  const utf8proc_ssize_t size =
      utf8proc_normalize_utf32(pair.data(), 2, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  return size == 1 ? static_cast<char32_t>(pair[0]) : 0;
}

/// Decomposes, and sorts each run of marks by its combining class, keeping the order of equals.
void decompose(std::string_view text, bool compatible, std::vector<Change>& out) {
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::size_t run = out.size();  // where the marks that may yet be sorted begin
  const auto sort_run = [&out](std::size_t from) {
    if (out.size() - from > 1)
      std::stable_sort(
          out.begin() + static_cast<std::ptrdiff_t>(from), out.end(),
          [](const Change& a, const Change& b) { return combining_class(a.value) < combining_class(b.value); });
  };
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.size;
    std::array<utf8proc_int32_t, 32> parts = {};  // the longest decomposition has 18
    utf8proc_ssize_t count = 1;
    if (c.value < 0x80) {
      parts[0] = code(c.value);
    } else {
      int last_class = 0;
      count = utf8proc_decompose_char(code(c.value), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()), options,
                                      &last_class);
      if (count <= 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
        parts[0] = code(c.value);
        count = 1;
      }
    }
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const auto part = static_cast<char32_t>(parts[static_cast<std::size_t>(i)]);
      if (combining_class(part) == 0) {
        sort_run(run);
        out.push_back({part, i == 0 ? 0 : 1});
        run = out.size();
      } else {
        out.push_back({part, i == 0 ? 0 : 1});
      }
    }
  }
  sort_run(run);
}

/// Composes in place what decompose() gave.
void compose(std::vector<Change>& text) {
  std::size_t kept = 0;
  std::size_t starter = 0;
  bool has_starter = false;
  int last_class = -1;  // of what was kept behind the starter: -1 for nothing
  for (const Change& next : text) {
    const int its_class = combining_class(next.value);
    if (has_starter && last_class < its_class) {
      if (const char32_t one = composed(text[starter].value, next.value)) {
        text[starter] = {one, text[starter].change + next.change - 1};
        continue;
      }
    }
    if (its_class == 0) {
      starter = kept;
      has_starter = true;
      last_class = -1;
    } else {
      last_class = its_class;
    }
    text[kept++] = next;
  }
  text.resize(kept);
}

}  // namespace

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return between(utf8proc_category(code(c)), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
  return between(utf8proc_category(code(c)), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool is_mark(char32_t c) {
  return c >= 0x300 && between(utf8proc_category(code(c)), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool is_nonspacing(char32_t c) { return c >= 0x300 && utf8proc_category(code(c)) == UTF8PROC_CATEGORY_MN; }

bool is_other(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(code(c));
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

Lowered lowered(char32_t c) {
  if (c < 0x80) return {{c >= 'A' && c <= 'Z' ? c + 32 : c, 0}, 1};
  // The one character whose lower case is two, whatever the language.
  if (c == 0x130) return {{U'i', 0x307}, 2};
  return {{static_cast<char32_t>(utf8proc_tolower(code(c))), 0}, 1};
}

bool normal_form(std::string_view text, Form form, std::vector<Change>& out) {
  out.clear();
  const bool composing = form == Form::kNfc || form == Form::kNfkc;
  // Below U+0300 nothing composes anew, and below U+00A0 nothing decomposes.
  const unsigned char limit = form == Form::kNfc ? 0xCC : 0xC2;
  if (std::all_of(text.begin(), text.end(),
                  [limit](char byte) { return continues(byte) || static_cast<unsigned char>(byte) < limit; }))
    return false;
  decompose(text, form == Form::kNfkc || form == Form::kNfkd, out);
  if (composing) compose(out);
  return true;
}

std::size_t cluster_end(std::string_view text, std::size_t at) {
  utf8proc_int32_t state = 0;
  Character before = character_at(text, at);
  at += before.size;
  while (at < text.size()) {
    const Character next = character_at(text, at);
    if (utf8proc_grapheme_break_stateful(code(before.value), code(next.value), &state)) break;
    at += next.size;
    before = next;
  }
  return at;
}

}  // namespace orch::tokenizer
