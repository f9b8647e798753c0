#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/text.h"
#include "eval/pattern.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostPattern = 10'000;  // bytes
constexpr std::uint32_t kMostSteps = 1'000'000;
constexpr std::uint32_t kMostMemory = 64 * 1024;  // KiB

/// What Python and PCRE2 read differently, in PCRE2's words: `\Z` and `{,3}`.
std::string in_pcre2_words(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      out += c;
      out += !in_class && pattern[i + 1] == 'Z' ? 'z' : pattern[i + 1];
      ++i;
      continue;
    }
    if (in_class) {
      if (c == '[') out += '\\';  // in Python a bracket is nothing special there
      in_class = c != ']';
      out += c;
      continue;
    }
    out += c;
    if (c == '[') {
      in_class = true;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') out += pattern[++i];
    } else if (c == '{' && i + 1 < pattern.size() && pattern[i + 1] == ',') {
      const std::size_t end = pattern.find_first_not_of("0123456789", i + 2);
      if (end != std::string_view::npos && end > i + 2 && pattern[end] == '}') out += '0';
    }
  }
  return out;
}

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* held) const {
    Free(held);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

Result<Pattern> Pattern::compile(std::string_view pattern) {
  if (pattern.size() > kMostPattern) return Error{"a pattern of more than 10,000 bytes"};
  const std::string words = in_pcre2_words(pattern);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* const code = pcre2_compile(units(words), words.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_MATCH_INVALID_UTF,
                                         &error, &at, context.get());
  if (!code) {
    std::string why(256, '\0');
    const int length = pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(why.data()), why.size());
    why.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return Error{"the pattern " + quote(pattern) + " cannot be read, at byte " + std::to_string(at + 1) + ": " + why};
  }
  Pattern made;
  made.code_ = std::shared_ptr<const pcre2_real_code_8>(
      code, [](const pcre2_real_code_8* held) { pcre2_code_free(const_cast<pcre2_real_code_8*>(held)); });  // NOLINT
  return made;
}

std::vector<Pattern::Match> Pattern::find_all(std::string_view text, std::size_t most) const {
  std::vector<Match> matches;
  const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  const MatchContext limits(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(limits.get(), kMostSteps);
  pcre2_set_heap_limit(limits.get(), kMostMemory);
  std::size_t from = 0;
  std::uint32_t options = 0;
  while (from <= text.size() && matches.size() < most) {
    const int groups = pcre2_match(code_.get(), units(text), text.size(), from, options, data.get(), limits.get());
    if (groups <= 0) break;
    const PCRE2_SIZE* const places = pcre2_get_ovector_pointer(data.get());
    // \K can put a beginning behind the end; Python has no such thing.
    Match match{std::min(places[0], places[1]), places[1], {}};
    for (std::uint32_t i = 1; i < pcre2_get_ovector_count(data.get()); ++i) {
      const bool took_part = static_cast<int>(i) < groups && places[2 * i] != PCRE2_UNSET;
      match.groups.emplace_back(took_part ? text.substr(places[2 * i], places[2 * i + 1] - places[2 * i])
                                          : std::string_view{});
    }
    // After an empty match Python goes on at the same place, for one that is not empty, or further on.
    options = match.begin == match.end ? PCRE2_NOTEMPTY_ATSTART : 0;
    from = match.end;
    matches.push_back(std::move(match));
  }
  return matches;
}

std::optional<Pattern::Match> Pattern::find(std::string_view text) const {
  auto matches = find_all(text, 1);
  if (matches.empty()) return std::nullopt;
  return std::move(matches.front());
}

std::string Pattern::replaced(std::string_view text, std::string_view by) const {
  std::string out;
  std::size_t from = 0;
  for (const Match& match : find_all(text)) {
    out += text.substr(from, match.begin - from);
    out += by;
    from = match.end;
  }
  return out += text.substr(from);
}

}  // namespace orch::eval
