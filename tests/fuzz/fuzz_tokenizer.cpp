#include <string>
#include <vector>

#include "base/text.h"
#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/tokenizer.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

using namespace tokenizer;

constexpr std::size_t kMostText = 2000;

void encode_and_back(const Tokenizer& read, std::string_view text) {
  const auto ids = read.encode(text);
  const auto placed = read.encode_with_places(text);
  promise(ids.ok() == placed.ok(), "a text has tokens with places if it has tokens");
  if (!ids) return promise(!ids.error().what.empty(), "an error says what");
  promise(*ids == placed->ids, "places do not change tokens");
  promise(placed->places.size() == ids->size(), "every token has a place");
  const auto back = read.decode(*ids, false);
  TokenStream stream(read, false);
  for (const TokenId id : *ids) (void)stream.push(id);
  (void)stream.finish();
  promise(!back || is_utf8(*back), "decoded text is UTF-8");
  for (const TokenId id : *ids) (void)read.piece(id);
}

}  // namespace

void tokenizer_target(std::string_view bytes) {
  const std::size_t cut = bytes.find("\n---8<---\n");
  const std::string_view file = bytes.substr(0, cut);
  const std::string_view text = cut == std::string_view::npos ? bytes : bytes.substr(cut + 10);
  const auto read = Tokenizer::parse(file, "input.json");
  if (read) {
    encode_and_back(*read, text.substr(0, kMostText));
    encode_and_back(*read, "Two words, 12 and\té.");
  } else {
    promise(!read.error().what.empty(), "an error says what");
  }
  // The parts that hide in base64 or in texts, with bytes of their own.
  if (const auto map = Charsmap::read(text))
    for (std::size_t at = 0; at < text.size() && at < 200; ++at) (void)map->replacement(text.substr(at));
  if (is_utf8(text) && text.size() < 300) {
    const auto pattern = pcre2_pattern(text);
    auto regex = pattern ? Regex::compile(*pattern) : Result<Regex>(pattern.error());
    if (regex) {
      MatchMemory memory;
      std::size_t last = 0;
      (void)regex->each("It's 12 o'clock, d\xC3\xA9j\xC3\xA0 vu\n\n  \xE4\xB8\xAD\xE6\x96\x87", memory,
                        [&last](std::size_t begin, std::size_t end) {
                          promise(begin >= last && end >= begin, "matches go from left to right");
                          last = end;
                        });
    }
  }
}

}  // namespace orch::fuzz
