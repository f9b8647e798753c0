#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/regex.h"

#include <pcre2.h>

#include <array>
#include <new>

#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

/// Steps of one match. The patterns of published models take a few per character.
constexpr std::uint32_t kMostSteps = 5'000'000;
constexpr std::uint32_t kMostHeap = 64 * 1024;  // KiB
constexpr std::size_t kLongestPattern = 100'000;

struct FreeContext {
  void operator()(pcre2_match_context_8* context) const { pcre2_match_context_free_8(context); }
  void operator()(pcre2_compile_context_8* context) const { pcre2_compile_context_free_8(context); }
};

/// The bounds of every match: made once, never changed.
pcre2_match_context_8* bounds() {
  static const std::unique_ptr<pcre2_match_context_8, FreeContext> kBounds = [] {
    std::unique_ptr<pcre2_match_context_8, FreeContext> context(pcre2_match_context_create_8(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_match_limit_8(context.get(), kMostSteps);
    pcre2_set_heap_limit_8(context.get(), kMostHeap);
    return context;
  }();
  return kBounds.get();
}

}  // namespace

MatchMemory::MatchMemory() : data_(pcre2_match_data_create_8(1, nullptr)) {
  if (!data_) throw std::bad_alloc();
}

void MatchMemory::Free::operator()(pcre2_real_match_data_8* data) const { pcre2_match_data_free_8(data); }
void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free_8(code); }

std::string literal_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}#-&~ \t\n\r\f\v").find(c) != std::string_view::npos) pattern += '\\';
    if (c == '\n') {
      pattern += 'n';
    } else {
      pattern += c;
    }
  }
  return pattern;
}

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) return Error{"the pattern is longer than 100,000 bytes"};
  std::unique_ptr<pcre2_compile_context_8, FreeContext> context(pcre2_compile_context_create_8(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit_8(context.get(), 100);
  // Oniguruma's ^ and $ are those of a line. It knows no callouts, no \C, and no options at a pattern's head.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  PCRE2_SIZE where = 0;
  Regex regex;
  regex.code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(pattern.data()), pattern.size(), kOptions, &error,
                                    &where, context.get()));
  if (!regex.code_) {
    std::array<PCRE2_UCHAR8, 256> message = {};
    pcre2_get_error_message_8(error, message.data(), message.size());
    return Error{"the pattern " + quote(pattern) + " is wrong at byte " + std::to_string(where) + ": " +
                 reinterpret_cast<const char*>(message.data())};
  }
  regex.compiled_to_machine_ = pcre2_jit_compile_8(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

Regex::Outcome Regex::next(std::string_view text, std::size_t from, MatchMemory& memory, std::size_t& begin,
                           std::size_t& end) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR8>(text.data() ? text.data() : "");
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (compiled_to_machine_)
    result = pcre2_jit_match_8(code_.get(), subject, text.size(), from, 0, memory.data_.get(), bounds());
  // The machine code's stack is small; the interpreter works on the heap.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT)
    result = pcre2_match_8(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                           memory.data_.get(), bounds());
  if (result == PCRE2_ERROR_NOMATCH) return Outcome::kNone;
  if (result < 0) return Outcome::kTooLong;
  const PCRE2_SIZE* places = pcre2_get_ovector_pointer_8(memory.data_.get());
  begin = places[0];
  end = places[1];
  // \K in a lookahead can put a beginning behind its end, or before where the search began.
  if (begin > end || begin < from) return Outcome::kTooLong;
  return Outcome::kMatch;
}

std::size_t Regex::after(std::string_view text, std::size_t at) {
  return at < text.size() ? at + character_at(text, at).size : text.size() + 1;
}

}  // namespace orch::tokenizer
