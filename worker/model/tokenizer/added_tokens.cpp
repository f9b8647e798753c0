#include "model/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

constexpr std::size_t kLongest = 4096;    // bytes of a token
constexpr std::size_t kMost = 1'000'000;  // tokens

}  // namespace

AddedToken read_added_token(const JsonFields& field) {
  AddedToken token;
  token.content = field["content"].text();
  token.single_word = field.flag_or("single_word", false);
  token.lstrip = field.flag_or("lstrip", false);
  token.rstrip = field.flag_or("rstrip", false);
  token.special = field.flag_or("special", false);
  token.normalized = field.flag_or("normalized", !token.special);
  return token;
}

std::optional<Error> AddedTokens::add(AddedToken token, const Vocabulary& vocabulary) {
  if (token.content.empty()) return std::nullopt;
  if (token.content.size() > kLongest) return Error{"the added token " + quote(token.content) + " is too long"};
  if (tokens_.size() >= kMost) return Error{"there are more than 1,000,000 added tokens"};
  if (token.special) special_.emplace(token.content, true);
  auto its_id = id(token.content);
  if (!its_id) its_id = vocabulary.id(token.content);
  if (!its_id) {
    const auto size = static_cast<TokenId>(vocabulary.size());
    its_id = tokens_.empty() ? size : std::max(size, tokens_.rbegin()->first + 1);
  }
  ids_[token.content] = *its_id;
  tokens_[*its_id] = std::move(token);
  return std::nullopt;
}

std::optional<Error> AddedTokens::build(const std::vector<Normalizer>& normalizers) {
  Passage passage;
  RewriteMemory memory;
  bool words = false;
  for (const auto& [id, token] : tokens_) {
    std::string_view sought = token.content;
    if (token.normalized) {
      passage.start(token.content, false);
      if (!normalize(normalizers, passage, memory))
        return Error{"the normaliser takes too long over the added token " + quote(token.content)};
      sought = passage.text();
    }
    Entry& entry = entries_[id];
    entry.decoded = sought;
    entry.special = token.special || special_.contains(token.content);
    words = words || token.single_word;
    if (sought.empty()) continue;
    Searched& searched = token.normalized ? normalized_ : given_;
    const std::uint32_t node = searched.trie.walk(Trie::kRoot, sought);
    if (node != Trie::kNone && searched.trie.value(node) != Trie::kNone) continue;
    searched.trie.add(sought, id);
    searched.begins[static_cast<unsigned char>(sought[0])] = true;
  }
  if (words) {
    auto word = Regex::compile(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])");
    if (!word) return word.error();
    word_ = std::move(*word);
  }
  return std::nullopt;
}

bool AddedTokens::stands_alone(std::string_view text, std::size_t begin, std::size_t end, MatchMemory& memory) const {
  const auto is_word = [&](std::string_view character) {
    bool found = false;
    (void)word_->each(character, memory, [&found](std::size_t, std::size_t) { found = true; });
    return found;
  };
  if (begin > 0) {
    const Character before = last_character(text.substr(0, begin));
    if (is_word(text.substr(begin - before.size, before.size))) return false;
  }
  return end == text.size() || !is_word(text.substr(end, character_at(text, end).size));
}

void AddedTokens::find(Passage& passage, bool normalized, MatchMemory& memory, std::vector<Piece>& spare) const {
  const Searched& searched = normalized ? normalized_ : given_;
  if (searched.trie.empty()) return;
  spare.clear();
  for (const Piece& piece : passage.pieces) {
    if (piece.token != Piece::kOpen) {
      spare.push_back(piece);
      continue;
    }
    const std::string_view text = passage.text(piece);
    std::size_t done = 0;
    const auto push = [&](std::size_t begin, std::size_t end, TokenId token) {
      spare.push_back(
          {piece.begin + static_cast<std::uint32_t>(begin), piece.begin + static_cast<std::uint32_t>(end), token});
    };
    for (std::size_t at = 0; at < text.size();) {
      if (!searched.begins[static_cast<unsigned char>(text[at])]) {
        ++at;
        continue;
      }
      std::size_t end = at;
      TokenId id = 0;
      std::uint32_t node = Trie::kRoot;
      for (std::size_t next = at; next < text.size();) {
        node = searched.trie.step(node, text[next++]);
        if (node == Trie::kNone) break;
        if (searched.trie.value(node) == Trie::kNone) continue;
        end = next;
        id = searched.trie.value(node);
      }
      if (end == at) {
        ++at;
        continue;
      }
      std::size_t begin = at;
      at = end;
      const AddedToken& token = tokens_.at(id);
      if (token.single_word && !stands_alone(text, begin, end, memory)) continue;
      if (token.lstrip) {
        while (begin > 0) {
          const Character c = last_character(text.substr(0, begin));
          if (!is_space(c.value)) break;
          begin -= c.size;
        }
        begin = std::max(begin, done);
      }
      if (token.rstrip)
        while (end < text.size()) {
          const Character c = character_at(text, end);
          if (!is_space(c.value)) break;
          end += c.size;
        }
      if (begin >= end) continue;  // the token before has taken it as white space
      if (done < begin) push(done, begin, Piece::kOpen);
      push(begin, end, id);
      done = end;
    }
    if (done < text.size()) push(done, text.size(), Piece::kOpen);
  }
  passage.pieces.swap(spare);
}

std::optional<TokenId> AddedTokens::id(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const AddedToken* AddedTokens::token(TokenId id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

std::optional<std::string_view> AddedTokens::decoded(TokenId id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? std::nullopt : std::optional<std::string_view>(found->second.decoded);
}

bool AddedTokens::special(TokenId id) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.special;
}

}  // namespace orch::tokenizer
