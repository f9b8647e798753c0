#include "model/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/text.h"
#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's space
constexpr std::size_t kShort = 32;                   // symbols that are merged by looking at all pairs

std::uint64_t hash(const std::array<char, BpeMemory::Known::kLongest>& word, std::size_t size) {
  std::array<std::uint64_t, 4> parts = {};
  std::memcpy(parts.data(), word.data(), word.size());
  std::uint64_t mixed = size * 0x9E3779B97F4A7C15ULL;
  for (const std::uint64_t part : parts) mixed = std::rotl((mixed ^ part) * 0xD6E8FEB86659FD93ULL, 29);
  return mixed ^ mixed >> 31;
}

}  // namespace

Result<Bpe> Bpe::make(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options) {
  Bpe bpe;
  bpe.pairs_.resize(std::bit_ceil(std::max<std::size_t>(16, merges.size() * 2)));
  bpe.pair_mask_ = bpe.pairs_.size() - 1;
  std::string merged;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto missing = [rank](std::string_view piece) {
      return Error{"merge " + std::to_string(rank + 1) + " has " + quote(piece) + ", which is not in the vocabulary"};
    };
    const auto left_id = vocabulary.id(left);
    if (!left_id) return missing(left);
    const auto right_id = vocabulary.id(right);
    if (!right_id) return missing(right);
    if (right.size() < options.prefix.size())
      return Error{"merge " + std::to_string(rank + 1) + " has " + quote(right) + ", which lacks the prefix " +
                   quote(options.prefix)};
    merged.assign(left).append(right.substr(options.prefix.size()));
    const auto merged_id = vocabulary.id(merged);
    if (!merged_id) return missing(merged);
    bpe.put_pair(std::uint64_t{*left_id} << 32 | *right_id, static_cast<std::uint32_t>(rank), *merged_id);
  }
  if (options.unknown) {
    bpe.unknown_ = vocabulary.id(*options.unknown);
    if (!bpe.unknown_) return Error{"the unknown piece " + quote(*options.unknown) + " is not in the vocabulary"};
  }
  bpe.vocabulary_ = std::move(vocabulary);
  bpe.options_ = std::move(options);
  bpe.learn_alphabet();
  bpe.learn_boundaries(merges);
  return bpe;
}

void Bpe::put_pair(std::uint64_t key, std::uint32_t rank, TokenId merged) {
  std::size_t at = slot_of(key);
  while (pairs_[at].key != kNoPair && pairs_[at].key != key) at = (at + 1) & pair_mask_;
  pairs_[at] = {key, rank, merged};  // of two merges of one pair the last one counts
}

void Bpe::learn_alphabet() {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  for (std::size_t c = 0; c < ascii_.size(); ++c)
    ascii_[c] = vocabulary_.id(std::string(1, static_cast<char>(c))).value_or(kNoId);
  reads_bytes_ = options_.prefix.empty() && options_.suffix.empty();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.id(byte_texts()[byte]).value_or(kNoId);
    if (byte_ids_[byte] == kNoId) reads_bytes_ = false;
    const std::string code = {'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
    fallback_[byte] = vocabulary_.id(code).value_or(kNoId);
  }
  if (!options_.ignore_merges || !reads_bytes_) return;
  words_.emplace();
  for (TokenId id = 0; id < vocabulary_.ids(); ++id)
    if (const auto piece = vocabulary_.piece(id))
      if (const auto bytes = bytes_of(*piece)) (void)words_->add(*bytes, id);
}

void Bpe::learn_boundaries(const std::vector<Merge>& merges) {
  // Without a piece for what is unknown characters are left out, and places count on without them to a word's end.
  cut_at_spaces_ = unknown_ && !options_.ignore_merges && options_.prefix.empty() && options_.suffix.empty() &&
                   vocabulary_.id(kSpace);
  // In a merge's result U+2581 follows another character where it does so in a part, or at the seam.
  const auto crosses = [](std::string_view text) {
    for (std::size_t at = text.find(kSpace); at != std::string_view::npos; at = text.find(kSpace, at + kSpace.size()))
      if (at > 0 && !text.substr(0, at).ends_with(kSpace)) return true;
    return false;
  };
  for (const auto& [left, right] : merges) {
    if (!cut_at_spaces_) break;
    if (crosses(left) || crosses(right) || (!left.ends_with(kSpace) && right.starts_with(kSpace)))
      cut_at_spaces_ = false;
  }
}

std::optional<TokenId> Bpe::id_of(std::string_view character) const {
  if (character.size() == 1 && static_cast<unsigned char>(character[0]) < 0x80) {
    const TokenId id = ascii_[static_cast<unsigned char>(character[0])];
    return id == kNoId ? std::nullopt : std::optional(id);
  }
  return vocabulary_.id(character);
}

void Bpe::begin_word(std::string_view word, bool bytes, std::vector<BpeMemory::Symbol>& symbols) const {
  symbols.clear();
  if (bytes) {
    for (const char byte : word) symbols.push_back({byte_ids_[static_cast<unsigned char>(byte)], 1});
    return;
  }
  std::uint32_t unknown_size = 0;  // of unknown characters that have not become a symbol yet
  bool unknown = false;
  std::string dressed;
  for (std::size_t at = 0; at < word.size();) {
    const std::uint32_t size = character_at(word, at).size;
    std::string_view character = word.substr(at, size);
    if (!options_.prefix.empty() || !options_.suffix.empty()) {
      dressed = at > 0 ? options_.prefix : "";
      dressed += character;
      if (at + size == word.size()) dressed += options_.suffix;
      character = dressed;
    }
    at += size;
    if (const auto id = id_of(character)) {
      if (unknown) symbols.push_back({*unknown_, unknown_size});
      unknown = false;
      symbols.push_back({*id, size});
      continue;
    }
    if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [this](char byte) {
          return fallback_[static_cast<unsigned char>(byte)] != kNoId;
        })) {
      // Unknown characters before it come behind it then, as they do in the reference.
      for (const char byte : character) symbols.push_back({fallback_[static_cast<unsigned char>(byte)], 1});
      continue;
    }
    if (!unknown_) continue;
    if (unknown && options_.fuse_unknown) {
      unknown_size += size;
    } else {
      if (unknown) symbols.push_back({*unknown_, unknown_size});
      unknown = true;
      unknown_size = size;
    }
  }
  if (unknown) symbols.push_back({*unknown_, unknown_size});
}

void Bpe::merge_short(std::vector<BpeMemory::Symbol>& symbols) const {
  constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();
  std::array<std::uint32_t, kShort> ranks;
  std::array<TokenId, kShort> merged;
  std::size_t count = symbols.size();
  const auto look = [&](std::size_t at) {
    const Pair* known = pair(symbols[at].id, symbols[at + 1].id);
    ranks[at] = known ? known->rank : kNever;
    if (known) merged[at] = known->merged;
  };
  for (std::size_t at = 0; at + 1 < count; ++at) look(at);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t at = 1; at + 1 < count; ++at)
      if (ranks[at] < ranks[best]) best = at;
    if (ranks[best] == kNever) break;
    symbols[best] = {merged[best], symbols[best].size + symbols[best + 1].size};
    --count;
    for (std::size_t at = best + 1; at < count; ++at) symbols[at] = symbols[at + 1];
    for (std::size_t at = best + 1; at + 1 < count; ++at) {
      ranks[at] = ranks[at + 1];
      merged[at] = merged[at + 1];
    }
    if (best > 0) look(best - 1);
    if (best + 1 < count) look(best);
  }
  symbols.resize(count);
}

void Bpe::merge_long(BpeMemory& memory) const {
  auto& links = memory.links_;
  auto& heap = memory.heap_;
  const auto later = [](const BpeMemory::Candidate& a, const BpeMemory::Candidate& b) { return a.order > b.order; };
  links.clear();
  heap.clear();
  const auto count = static_cast<std::int32_t>(memory.symbols.size());
  for (std::int32_t i = 0; i < count; ++i) {
    const BpeMemory::Symbol& symbol = memory.symbols[static_cast<std::size_t>(i)];
    links.push_back({symbol.id, symbol.size, i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto link = [&links](std::int32_t at) -> BpeMemory::Link& { return links[static_cast<std::size_t>(at)]; };
  const auto candidate = [&](std::int32_t at) -> std::optional<BpeMemory::Candidate> {
    const Pair* known = pair(link(at).id, link(link(at).behind).id);
    if (!known) return std::nullopt;
    return BpeMemory::Candidate{std::uint64_t{known->rank} << 32 | static_cast<std::uint32_t>(at), known->merged};
  };
  const auto push = [&](std::int32_t at) {
    if (const auto found = candidate(at)) {
      heap.push_back(*found);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (std::int32_t i = 0; i + 1 < count; ++i)
    if (const auto found = candidate(i)) heap.push_back(*found);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const BpeMemory::Candidate top = heap.back();
    heap.pop_back();
    const auto at = static_cast<std::int32_t>(top.order & 0xFFFFFFFF);
    BpeMemory::Link& left = link(at);
    if (left.size == 0 || left.behind < 0) continue;
    const auto now = candidate(at);
    if (!now || now->merged != top.merged) continue;  // one of the two has been merged since
    BpeMemory::Link& right = link(left.behind);
    left.id = top.merged;
    left.size += right.size;
    right.size = 0;
    left.behind = right.behind;
    if (left.behind >= 0) link(left.behind).before = at;
    if (left.before >= 0) push(left.before);
    if (left.behind >= 0) push(at);
  }
  memory.symbols.clear();
  for (const BpeMemory::Link& left : links)
    if (left.size > 0) memory.symbols.push_back({left.id, left.size});
}

void Bpe::encode_word(std::string_view word, bool bytes, BpeMemory& memory, TokenSink& sink) const {
  BpeMemory::Known* slot = nullptr;
  std::array<char, BpeMemory::Known::kLongest> key = {};
  if (word.size() <= key.size()) {
    std::memcpy(key.data(), word.data(), word.size());
    slot = &memory.known_[hash(key, word.size()) & (memory.known_.size() - 1)];
    if (slot->word_size == word.size() && slot->word == key) {
      std::size_t begin = 0;
      for (std::size_t i = 0; i < slot->count; begin += slot->sizes[i++])
        sink.add(slot->ids[i], begin, begin + slot->sizes[i]);
      return;
    }
  }
  if (options_.ignore_merges) {
    const auto whole = bytes ? words_->id(word) : vocabulary_.id(word);
    if (whole) return sink.add(*whole, 0, word.size());
  }
  begin_word(word, bytes, memory.symbols);
  if (memory.symbols.size() <= kShort) {
    merge_short(memory.symbols);
  } else {
    merge_long(memory);
  }
  std::size_t begin = 0;
  for (const BpeMemory::Symbol& symbol : memory.symbols) {
    sink.add(symbol.id, begin, begin + symbol.size);
    begin += symbol.size;
  }
  // A symbol's size is at most the word's, or that of the word with its prefix and suffix.
  if (!slot || memory.symbols.size() > BpeMemory::Known::kMostTokens || begin > 255) return;
  slot->word = key;
  slot->word_size = static_cast<std::uint8_t>(word.size());
  slot->count = static_cast<std::uint8_t>(memory.symbols.size());
  for (std::size_t i = 0; i < memory.symbols.size(); ++i) {
    slot->ids[i] = memory.symbols[i].id;
    slot->sizes[i] = static_cast<std::uint8_t>(memory.symbols[i].size);
  }
}

void Bpe::encode(std::string_view word, bool bytes, BpeMemory& memory, TokenSink& sink) const {
  if (bytes || !cut_at_spaces_) return encode_word(word, bytes, memory, sink);
  const std::size_t first = sink.places ? sink.places->size() : 0;
  std::size_t begin = 0;
  std::size_t placed = first;
  const auto part = [&](std::size_t end) {
    encode_word(word.substr(begin, end - begin), false, memory, sink);
    if (sink.places)
      for (; placed < sink.places->size(); ++placed) {
        (*sink.places)[placed].begin += static_cast<std::uint32_t>(begin);
        (*sink.places)[placed].end += static_cast<std::uint32_t>(begin);
      }
    begin = end;
  };
  bool after_space = true;  // no cut at the word's beginning
  for (std::size_t at = 0; at < word.size();) {
    if (word[at] == kSpace[0] && word.substr(at).starts_with(kSpace)) {
      if (!after_space) part(at);
      after_space = true;
      at += kSpace.size();
    } else {
      after_space = false;
      ++at;
    }
  }
  part(word.size());
}

}  // namespace orch::tokenizer
