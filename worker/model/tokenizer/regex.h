// PCRE2, wrapped once: a pattern as tokenizer files write it, compiled for UTF-8 (just in time where the machine can).
//
// Files are written for Oniguruma. What it and PCRE2 read differently is put into PCRE2's words by pcre2_pattern(), or
// refused. Patterns are hostile input: matching is bounded, and passing the bound is an error, never a hang.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace orch::tokenizer {

/// The pattern in PCRE2's words.
Result<std::string> pcre2_pattern(std::string_view oniguruma);

/// A pattern that matches this text alone.
std::string literal_pattern(std::string_view text);

/// What one thread needs to match with.
class MatchMemory {
 public:
  MatchMemory();

 private:
  friend class Regex;
  struct Free {
    void operator()(pcre2_real_match_data_8* data) const;
  };
  std::unique_ptr<pcre2_real_match_data_8, Free> data_;
};

class Regex {
 public:
  /// Compiles a pattern that is in PCRE2's words already.
  static Result<Regex> compile(std::string_view pattern);

  /// Calls `found(begin, end)` for every match, from left to right. False when matching took too many steps.
  template <class Found>
  bool each(std::string_view text, MatchMemory& memory, Found found) const {
    std::size_t from = 0;
    std::size_t last = text.size() + 1;  // where the last match ended: an empty one may not touch it
    while (from <= text.size()) {
      std::size_t begin = 0;
      std::size_t end = 0;
      const Outcome outcome = next(text, from, memory, begin, end);
      if (outcome != Outcome::kMatch) return outcome == Outcome::kNone;
      if (begin == end && end == last) {
        from = after(text, end);
        continue;
      }
      found(begin, end);
      from = last = end;
    }
    return true;
  }

 private:
  enum class Outcome { kMatch, kNone, kTooLong };
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  Outcome next(std::string_view text, std::size_t from, MatchMemory& memory, std::size_t& begin,
               std::size_t& end) const;
  static std::size_t after(std::string_view text, std::size_t at);

  std::unique_ptr<pcre2_real_code_8, Free> code_;
  bool compiled_to_machine_ = false;
};

}  // namespace orch::tokenizer
