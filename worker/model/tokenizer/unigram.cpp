#include "model/tokenizer/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10;  // SentencePiece's
constexpr TokenId kNoId = 0xFFFFFFFF;

}  // namespace

Result<Unigram> Unigram::make(Vocabulary vocabulary, std::vector<double> scores, std::optional<TokenId> unknown,
                              bool byte_fallback) {
  Unigram unigram;
  double least = std::numeric_limits<double>::infinity();
  for (TokenId id = 0; id < scores.size(); ++id) {
    if (!std::isfinite(scores[id])) return Error{"the score of piece " + std::to_string(id) + " is not a number"};
    least = std::min(least, scores[id]);
    if (const auto piece = vocabulary.piece(id)) unigram.trie_.add(*piece, id);
  }
  if (unknown && *unknown >= scores.size())
    return Error{"unk_id is " + std::to_string(*unknown) + ", but the vocabulary has " +
                 counted(static_cast<long long>(scores.size()), "piece")};
  unigram.unknown_score_ = least - kUnknownPenalty;
  if (byte_fallback) {
    static constexpr std::string_view kHex = "0123456789ABCDEF";
    unigram.fallback_.emplace();
    for (std::size_t byte = 0; byte < 256; ++byte)
      (*unigram.fallback_)[byte] = vocabulary.id(std::string{'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'});
  }
  unigram.vocabulary_ = std::move(vocabulary);
  unigram.scores_ = std::move(scores);
  unigram.unknown_ = unknown;
  return unigram;
}

bool Unigram::encode(std::string_view text, UnigramMemory& memory, TokenSink& sink) const {
  auto& best = memory.best;
  best.assign(text.size() + 1, {});
  const auto offer = [&best](std::size_t begin, std::size_t end, TokenId id, double score) {
    const double sum = score + best[begin].score;
    if (best[end].id == kNoId || sum > best[end].score) best[end] = {sum, static_cast<std::uint32_t>(begin), id};
  };
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t one = begin + character_at(text, begin).size;
    bool known = false;
    std::uint32_t node = Trie::kRoot;
    for (std::size_t end = begin; end < text.size();) {
      node = trie_.step(node, text[end++]);
      if (node == Trie::kNone) break;
      const std::uint32_t id = trie_.value(node);
      if (id == Trie::kNone) continue;
      offer(begin, end, id, scores_[id]);
      if (end == one) known = true;
    }
    if (!known) {
      const bool better = best[one].id == kNoId || unknown_score_ + best[begin].score > best[one].score;
      if (better && !unknown_) return false;
      if (better) offer(begin, one, *unknown_, unknown_score_);
    }
    begin = one;
  }
  // From the end back; unknown pieces that touch are one.
  auto& parts = memory.parts;
  parts.clear();
  for (auto end = static_cast<std::uint32_t>(text.size()); end > 0;) {
    const UnigramMemory::Step& step = best[end];
    const bool unknown = unknown_ && step.id == *unknown_;
    if (unknown && !parts.empty() && parts.back().second == *unknown_) {
      parts.back().first.begin = step.begin;
    } else {
      parts.push_back({{step.begin, end}, step.id});
    }
    end = step.begin;
  }
  std::reverse(parts.begin(), parts.end());
  for (const auto& [span, id] : parts) {
    if (!unknown_ || id != *unknown_) {
      sink.add(id, span.begin, span.end);
      continue;
    }
    const std::string_view piece = text.substr(span.begin, span.end - span.begin);
    if (const auto whole = vocabulary_.id(piece)) {
      sink.add(*whole, span.begin, span.end);
    } else if (fallback_ && std::all_of(piece.begin(), piece.end(), [this](char byte) {
                 return (*fallback_)[static_cast<unsigned char>(byte)].has_value();
               })) {
      for (const char byte : piece) sink.add(*(*fallback_)[static_cast<unsigned char>(byte)], span.begin, span.end);
    } else {
      sink.add(*unknown_, span.begin, span.end);
    }
  }
  return true;
}

}  // namespace orch::tokenizer
