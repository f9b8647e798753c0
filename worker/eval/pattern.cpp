#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/template/code_points.h"
#include "base/text.h"
#include "eval/pattern.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostPattern = 10'000;  // bytes
constexpr std::uint32_t kMostSteps = 1'000'000;
constexpr std::uint32_t kMostMemory = 64 * 1024;          // KiB
constexpr std::uint32_t kMostCountedMemory = 256 * 1024;  // KiB: `(.|\n)*` takes some hundred bytes a character

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

using Code = std::shared_ptr<const pcre2_real_code_8>;

/// `words`: in_pcre2_words(pattern).
Result<Code> compiled(std::string_view pattern, const std::string& words, std::uint32_t options) {
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* const code =
      pcre2_compile(units(words), words.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | options, &error, &at,
                    context.get());
  if (!code) {
    std::string why(256, '\0');
    const int length = pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(why.data()), why.size());
    why.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return Error{"the pattern " + quote(pattern) + " cannot be read, at byte " + std::to_string(at + 1) + ": " + why};
  }
  return Code(code,
              [](const pcre2_real_code_8* held) { pcre2_code_free(const_cast<pcre2_real_code_8*>(held)); });  // NOLINT
}

Pattern::Match match_of(std::string_view text, pcre2_match_data* data, int groups) {
  const PCRE2_SIZE* const places = pcre2_get_ovector_pointer(data);
  // \K can put a beginning behind the end; Python has no such thing.
  Pattern::Match match{std::min(places[0], places[1]), places[1], {}};
  for (std::uint32_t i = 1; i < pcre2_get_ovector_count(data); ++i) {
    const bool took_part = static_cast<int>(i) < groups && places[2 * i] != PCRE2_UNSET;
    match.groups.emplace_back(took_part ? text.substr(places[2 * i], places[2 * i + 1] - places[2 * i])
                                        : std::string_view{});
  }
  return match;
}

/// What an item of a pattern may cost beside the characters that it takes: one that fails says nothing of how far it
/// looked. A back reference compares as much as there is text, `x{900}` 900 characters.
std::int64_t hidden_cost(std::string_view item, std::size_t text) {
  if (item.starts_with("(?P=") ||
      (item.size() > 1 && item[0] == '\\' && std::string_view("123456789gk").find(item[1]) != std::string_view::npos))
    return static_cast<std::int64_t>(text / 16);
  if (item.starts_with('(') || !item.ends_with('}')) return 0;
  std::int64_t times = 0;
  for (std::size_t i = item.rfind('{') + 1; i < item.size() && item[i] >= '0' && item[i] <= '9' && times < 100'000; ++i)
    times = 10 * times + (item[i] - '0');
  return times / 16;
}

/// Counts at each item of a pattern that the matcher comes to.
struct Meter {
  std::string_view words;
  std::size_t text;
  std::int64_t step_cost;
  std::int64_t left;
  PCRE2_SIZE at = 0;                ///< where the last item began
  std::vector<std::int64_t> costs;  ///< hidden_cost() by the item's place; -1: not known yet

  static int count(pcre2_callout_block* block, void* data) { return static_cast<Meter*>(data)->count(*block); }
  int count(const pcre2_callout_block& block) {
    std::int64_t& cost = costs[std::min<std::size_t>(block.pattern_position, words.size())];
    if (cost < 0)
      cost = hidden_cost(
          words.substr(std::min<std::size_t>(block.pattern_position, words.size()), block.next_item_length), text);
    const PCRE2_SIZE now = block.current_position;
    left -= step_cost + cost + static_cast<std::int64_t>(now > at ? now - at : at - now);
    at = now;
    return left > 0 ? 0 : PCRE2_ERROR_MATCHLIMIT;
  }
};

Error too_long_a_pattern() { return Error{"a pattern of more than 10,000 bytes"}; }

}  // namespace

Result<Pattern> Pattern::compile(std::string_view pattern) {
  if (pattern.size() > kMostPattern) return too_long_a_pattern();
  auto code = compiled(pattern, in_pcre2_words(pattern), PCRE2_MATCH_INVALID_UTF);
  if (!code) return code.error();
  Pattern made;
  made.code_ = *std::move(code);
  return made;
}

Result<CountedPattern> CountedPattern::compile(std::string_view pattern) {
  if (pattern.size() > kMostPattern) return too_long_a_pattern();
  CountedPattern made;
  made.words_ = in_pcre2_words(pattern);
  auto code = compiled(pattern, made.words_, PCRE2_AUTO_CALLOUT);
  if (!code) return code.error();
  made.code_ = *std::move(code);
  // Each step may copy a frame, which is larger the more groups there are.
  std::size_t frame = 0;
  pcre2_pattern_info(made.code_.get(), PCRE2_INFO_FRAMESIZE, &frame);
  made.step_cost_ = 1 + static_cast<std::int64_t>(frame / 512);
  return made;
}

CountedPattern::Found CountedPattern::search(std::string_view text, Which which) const {
  const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  const MatchContext limits(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(limits.get(), kMostCountedMemory);
  pcre2_set_match_limit(limits.get(), static_cast<std::uint32_t>(kMostWork));
  Meter meter{words_, text.size(), step_cost_, kMostWork, 0, std::vector<std::int64_t>(words_.size() + 1, -1)};
  pcre2_set_callout(limits.get(), &Meter::count, &meter);
  std::uint32_t options = PCRE2_NO_UTF_CHECK;
  if (which == Which::kWhole) options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
  std::optional<Pattern::Match> found;
  std::size_t from = 0;
  while (from <= text.size()) {
    const int groups = pcre2_match(code_.get(), units(text), text.size(), from, options, data.get(), limits.get());
    if (groups == PCRE2_ERROR_NOMATCH) break;
    if (groups <= 0) {
      const bool is_long = meter.left <= 0 || groups == PCRE2_ERROR_MATCHLIMIT;
      return Error{std::string("the pattern takes more than ") + (is_long ? "20,000,000 steps" : "256 MiB of memory") +
                   " on a text of " + counted(static_cast<long long>(text.size()), "byte")};
    }
    Pattern::Match match = match_of(text, data.get(), groups);
    meter.left -= 20 * step_cost_;  // what a search costs in itself
    if (which == Which::kLast) {
      // As in find_all(). A match may end where it is counted as empty and is not (\K in an assertion): go on then.
      const bool stays = found && match.end == from && options & PCRE2_NOTEMPTY_ATSTART;
      options = PCRE2_NO_UTF_CHECK | (match.begin == match.end ? PCRE2_NOTEMPTY_ATSTART : 0);
      from = match.end;
      if (stays && from < text.size())
        from += tmpl::code_point_size(text.substr(from));
      else if (stays)
        break;
    }
    found = std::move(match);
    if (which != Which::kLast) break;
  }
  return found;
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
    Match match = match_of(text, data.get(), groups);
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
