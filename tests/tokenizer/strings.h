// The random strings of scripts/record-tokenizers: the same numbers, and so the same strings.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/utf8.h"

namespace orch::test {

class Strings {
 public:
  /// From the head of recorded.json.
  explicit Strings(const nlohmann::json& head)
      : words_(head.at("words")),
        spaces_(head.at("spaces")),
        tokens_(head.at("tokens")),
        marks_(head.at("marks")),
        ranges_(head.at("ranges")) {}

  std::string make(std::uint64_t i) const {
    Random random(i);
    std::string text;
    const std::uint64_t parts = i % 500 == 499 ? 300 : random.below(14);
    for (std::uint64_t part = 0; part < parts; ++part) {
      const std::uint64_t kind = random.below(10);
      if (kind < 3) {
        text += words_[random.below(words_.size())];
      } else if (kind < 5) {
        text += spaces_[random.below(spaces_.size())];
      } else if (kind == 5) {
        for (std::uint64_t left = 1 + random.below(4); left > 0; --left) text += pick(random, ranges_);
      } else if (kind == 6) {
        text += pick(random, ranges_);
        for (std::uint64_t left = 1 + random.below(3); left > 0; --left) text += pick(random, marks_);
      } else if (kind == 7) {
        text += tokens_[random.below(tokens_.size())];
      } else if (kind == 8) {
        const std::string one = pick(random, ranges_);
        for (std::uint64_t left = 1 + random.below(40); left > 0; --left) text += one;
      } else {
        for (std::uint64_t left = 1 + random.below(6); left > 0; --left)
          text += static_cast<char>(0x21 + static_cast<int>(random.below(32)));
      }
    }
    return text;
  }

 private:
  using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
  class Random {
   public:
    explicit Random(std::uint64_t seed) : state_((seed + 1) * 0x9E3779B97F4A7C15ULL) {}
    std::uint64_t below(std::uint64_t most) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      return (state_ >> 33) % most;
    }

   private:
    std::uint64_t state_;
  };
  static std::string pick(Random& random, const Ranges& ranges) {
    const auto& [low, high] = ranges[random.below(ranges.size())];
    return tokenizer::to_utf8(low + static_cast<char32_t>(random.below(high - low + 1)));
  }

  std::vector<std::string> words_;
  std::vector<std::string> spaces_;
  std::vector<std::string> tokens_;
  Ranges marks_;
  Ranges ranges_;
};

}  // namespace orch::test
