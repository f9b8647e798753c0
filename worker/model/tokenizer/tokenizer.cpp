#include "model/tokenizer/tokenizer.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <set>

#include "base/text.h"
#include "model/tokenizer/reader.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of a file
constexpr std::size_t kMostHeldBack = 16;                   // ids
constexpr std::size_t kLongestText = std::size_t{1} << 30;  // places are 32-bit, and a normaliser may make it longer

/// What one call of encode() works with; kept for the next one.
struct Workshop {
  Passage passage;
  std::vector<Piece> spare;
  RewriteMemory rewrite;
  BpeMemory bpe;
  UnigramMemory unigram;
  std::vector<Span> places;
};

/// Whether a Metaspace has to know if a piece began the text, which after rewriting only places tell.
bool needs_places(const Parts& parts) {
  for (std::size_t i = 0; i < parts.pre_tokenizers.size(); ++i) {
    const auto* metaspace = std::get_if<Metaspace>(&parts.pre_tokenizers[i]);
    if (metaspace && metaspace->scheme == Metaspace::Scheme::kFirst && (i > 0 || !parts.normalizers.empty()))
      return true;
  }
  return false;
}

/// Transformers makes the template of these tokenizers from two flags, whatever the file says.
bool template_from_flags(const std::string& tokenizer_class) {
  static const std::set<std::string, std::less<>> kClasses = {"LlamaTokenizer",     "LlamaTokenizerFast",
                                                              "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
                                                              "GemmaTokenizer",     "GemmaTokenizerFast"};
  return kClasses.contains(tokenizer_class);
}

}  // namespace

struct Tokenizer::Body {
  Parts parts;
  AddedTokens added;
  Specials specials;
  bool reads_bytes = false;
  bool ends_in_bytes = false;  ///< the last pre-tokeniser's alphabet is left to the model
  bool always_tracked = false;
  bool trims = false;
  mutable std::mutex guard;
  mutable std::vector<std::unique_ptr<Workshop>> idle;

  static Result<Tokenizer> make(Parts parts, const Companions& companions);
  std::optional<Error> run(std::string_view text, bool add_special, Tokens& tokens) const;
  std::optional<Error> run_in(Workshop& shop, std::string_view text, Tokens& tokens) const;
  bool tokenize(Workshop& shop, std::string_view text, TokenSink& sink) const;
};

Result<Tokenizer> Tokenizer::Body::make(Parts parts, const Companions& companions) {
  auto body = std::make_shared<Body>();
  const Vocabulary& vocabulary = vocabulary_of(parts.model);
  for (AddedToken& token : parts.added)
    if (auto problem = body->added.add(std::move(token), vocabulary)) return *problem;
  parts.added.clear();
  for (const AddedToken& token : companions.added)
    if (auto problem = body->added.add(token, vocabulary)) return *problem;
  for (const auto& name : {companions.bos, companions.eos, companions.unknown, companions.pad})
    if (name && !body->added.id(*name))
      if (auto problem = body->added.add({*name, false, false, false, false, true}, vocabulary)) return *problem;
  if (auto problem = body->added.build(parts.normalizers)) return *problem;
  body->specials = resolve(companions, [&](const std::string& name) {
    const auto id = body->added.id(name);
    return id ? id : vocabulary.id(name);
  });
  const Specials& specials = body->specials;
  if ((specials.add_bos || specials.add_eos) && template_from_flags(companions.tokenizer_class)) {
    Template frame;
    if (specials.add_bos.value_or(true) && specials.bos) frame.parts.push_back({false, {*specials.bos}});
    frame.parts.push_back({true, {}});
    if (specials.add_eos.value_or(false) && !specials.eos.empty())
      frame.parts.push_back({false, {specials.eos.front()}});
    std::erase_if(parts.post_processors,
                  [](const PostProcessor& step) { return std::holds_alternative<Template>(step); });
    parts.post_processors.emplace_back(std::move(frame));
  }
  body->parts = std::move(parts);
  const Parts& whole = body->parts;
  const auto* bpe = std::get_if<Bpe>(&whole.model);
  body->reads_bytes = bpe && bpe->reads_bytes();
  body->ends_in_bytes = body->reads_bytes && !whole.pre_tokenizers.empty() &&
                        std::holds_alternative<ByteLevel>(whole.pre_tokenizers.back());
  body->always_tracked = needs_places(whole);
  body->trims = std::any_of(whole.post_processors.begin(), whole.post_processors.end(),
                            [](const PostProcessor& step) { return std::holds_alternative<TrimPlaces>(step); });
  return Tokenizer(std::move(body));
}

bool Tokenizer::Body::tokenize(Workshop& shop, std::string_view text, TokenSink& sink) const {
  if (const auto* bpe = std::get_if<Bpe>(&parts.model)) {
    bpe->encode(text, ends_in_bytes, shop.bpe, sink);
    return true;
  }
  if (const auto* unigram = std::get_if<Unigram>(&parts.model)) return unigram->encode(text, shop.unigram, sink);
  if (const auto* pieces = std::get_if<WordPiece>(&parts.model)) return pieces->encode(text, sink);
  return std::get<WordLevel>(parts.model).encode(text, sink);
}

std::optional<Error> Tokenizer::Body::run_in(Workshop& shop, std::string_view text, Tokens& tokens) const {
  Passage& passage = shop.passage;
  passage.start(text, tokens.placed || always_tracked);
  added.find(passage, false, shop.rewrite.match, shop.spare);
  if (!normalize(parts.normalizers, passage, shop.rewrite))
    return Error{"the normaliser's patterns take too many steps over this text, or it makes too much of it"};
  added.find(passage, true, shop.rewrite.match, shop.spare);
  if (!pre_tokenize(parts.pre_tokenizers, ends_in_bytes, passage, shop.rewrite, shop.spare))
    return Error{"the pre-tokeniser's patterns take too many steps over this text, or it makes too much of it"};
  if (passage.text().size() > std::numeric_limits<std::int32_t>::max())
    return Error{"the text is longer than 2 GiB once it is normalised"};
  for (const Piece& piece : passage.pieces) {
    if (piece.token != Piece::kOpen) {
      tokens.ids.push_back(piece.token);
      if (tokens.placed) tokens.places.push_back(passage.origin(piece.begin, piece.end));
      if (tokens.edged) tokens.edges.push_back(edges_of(passage.text(piece)));
      continue;
    }
    shop.places.clear();
    TokenSink sink{tokens.ids, tokens.placed ? &shop.places : nullptr};
    const std::size_t first = tokens.ids.size();
    if (!tokenize(shop, passage.text(piece), sink))
      return Error{"the text has " + quote(passage.text(piece)) +
                   ", and the model has no piece for what it does not know"};
    for (const Span& place : shop.places) {
      // A prefix or suffix that was taken apart to bytes has no place: the reference gives the piece's own count.
      const bool inside = place.begin < place.end && piece.begin + place.end <= piece.end;
      tokens.places.push_back(inside ? passage.origin(piece.begin + place.begin, piece.begin + place.end) : place);
    }
    if (!tokens.edged) continue;
    for (std::size_t i = first; i < tokens.ids.size(); ++i)
      tokens.edges.push_back(edges_of(vocabulary_of(parts.model).piece(tokens.ids[i]).value_or("")));
  }
  return std::nullopt;
}

std::optional<Error> Tokenizer::Body::run(std::string_view text, bool add_special, Tokens& tokens) const {
  if (text.size() > kLongestText) return Error{"the text is longer than 1 GiB"};
  tokens.edged = tokens.placed && trims;
  std::unique_ptr<Workshop> shop;
  {
    const std::lock_guard lock(guard);
    if (!idle.empty()) {
      shop = std::move(idle.back());
      idle.pop_back();
    }
  }
  if (!shop) shop = std::make_unique<Workshop>();
  const auto problem = run_in(*shop, text, tokens);
  {
    const std::lock_guard lock(guard);
    idle.push_back(std::move(shop));
  }
  if (problem) return problem;
  post_process(parts.post_processors, text, add_special, tokens);
  return std::nullopt;
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, bool add_special) const {
  Tokens tokens;
  if (auto problem = body_->run(text, add_special, tokens)) return *problem;
  return std::move(tokens.ids);
}

Result<Encoding> Tokenizer::encode_with_places(std::string_view text, bool add_special) const {
  Tokens tokens;
  tokens.placed = true;
  if (auto problem = body_->run(text, add_special, tokens)) return *problem;
  return Encoding{std::move(tokens.ids), std::move(tokens.places)};
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (skip_special && body_->added.special(id)) continue;
    auto token = body_->added.decoded(id);
    if (!token) token = vocabulary_of(body_->parts.model).piece(id);
    if (token) tokens.emplace_back(*token);
  }
  if (!body_->parts.has_decoder) return join(tokens, " ");
  auto text = tokenizer::decode(body_->parts.decoders, std::move(tokens));
  if (!text) return Error{"the decoder's patterns take too many steps over these tokens, or it makes too much of them"};
  return std::move(*text);
}

std::optional<std::string> Tokenizer::piece(TokenId id) const {
  if (const AddedToken* token = body_->added.token(id)) return token->content;
  const auto piece = vocabulary_of(body_->parts.model).piece(id);
  return piece ? std::optional(std::string(*piece)) : std::nullopt;
}

std::optional<TokenId> Tokenizer::id(std::string_view piece) const {
  const auto id = body_->added.id(piece);
  return id ? id : vocabulary_of(body_->parts.model).id(piece);
}

bool Tokenizer::special(TokenId id) const { return body_->added.special(id); }

std::size_t Tokenizer::size() const {
  const Vocabulary& vocabulary = vocabulary_of(body_->parts.model);
  std::size_t more = 0;
  for (const auto& [id, token] : body_->added.all()) more += vocabulary.id(token.content) ? 0 : 1;
  return vocabulary.size() + more;
}

std::size_t Tokenizer::ids() const {
  const std::size_t ids = vocabulary_of(body_->parts.model).ids();
  const auto& added = body_->added.all();
  return added.empty() ? ids : std::max(ids, static_cast<std::size_t>(added.rbegin()->first) + 1);
}

const Specials& Tokenizer::specials() const { return body_->specials; }
const std::vector<std::string>& Tokenizer::remarks() const { return body_->parts.remarks; }

Result<Tokenizer> Tokenizer::parse(std::string_view tokenizer_json, const std::string& name) {
  auto parts = read_tokenizer_json(tokenizer_json, name);
  if (!parts) return parts.error();
  return Body::make(std::move(*parts), {});
}

Result<Tokenizer> Tokenizer::open(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return Error{folder.string() + " is not a folder"};
  auto companions = read_companions(folder);
  if (!companions) return companions.error();
  const fs::path json = folder / "tokenizer.json";
  const auto text = read_file(json, kMostBytes);
  if (!text) return text.error();
  if (*text) {
    auto parts = read_tokenizer_json(**text, json.string());
    if (!parts) return parts.error();
    return Body::make(std::move(*parts), *companions);
  }
  const auto vocabulary = read_file(folder / "vocab.json", kMostBytes);
  if (!vocabulary) return vocabulary.error();
  const auto merges = read_file(folder / "merges.txt", kMostBytes);
  if (!merges) return merges.error();
  if (*vocabulary && *merges) {
    auto parts = read_gpt2_files(**vocabulary, **merges, folder.string(), companions->add_prefix_space.value_or(false));
    if (!parts) return parts.error();
    // GPT-2's own files come without a word about its one special token.
    static const std::string kEnd = "<|endoftext|>";
    if (!companions->eos && vocabulary_of(parts->model).id(kEnd)) companions->eos = kEnd;
    if (!companions->bos) companions->bos = companions->eos;
    return Body::make(std::move(*parts), *companions);
  }
  if (fs::exists(folder / "tokenizer.model", ignored))
    return Error{folder.string() +
                 " has a tokenizer.model alone, which is not read; save_pretrained() of its "
                 "AutoTokenizer in transformers writes the tokenizer.json that is"};
  return Error{folder.string() + " has no tokenizer: looked for tokenizer.json, and for vocab.json with merges.txt"};
}

Result<std::string> TokenStream::push(TokenId id) {
  ids_.push_back(id);
  return news(false);
}

Result<std::string> TokenStream::finish() {
  auto text = news(true);
  ids_.clear();
  given_ = 0;
  return text;
}

Result<std::string> TokenStream::news(bool all) {
  // What a decoder does at a text's beginning it does to the context, too, so the difference is what is new.
  const auto before = tokenizer_.decode(std::span(ids_).first(given_), skip_special_);
  if (!before) return before;
  auto now = tokenizer_.decode(ids_, skip_special_);
  if (!now) return now;
  // A character has four bytes: what is not whole after so many ids never will be.
  if (!all && now->ends_with(kReplacement) && ids_.size() - given_ < kMostHeldBack) return std::string();
  if (now->size() <= before->size() || !now->starts_with(*before)) {
    if (!all) return std::string();
    return now->size() > before->size() ? now->substr(before->size()) : std::string();
  }
  std::string text = now->substr(before->size());
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_));
  given_ = ids_.size();
  return text;
}

}  // namespace orch::tokenizer
