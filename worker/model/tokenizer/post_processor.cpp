#include "model/tokenizer/post_processor.h"

#include <algorithm>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/unicode.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

void trim(const TrimPlaces& step, std::string_view given, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.edges.size(); ++i) {
    Span& place = tokens.places[i];
    std::uint32_t leading = tokens.edges[i].leading;
    if (leading == 1 && step.add_prefix_space && (i == 0 || place.begin == 0)) leading = 0;
    for (; leading > 0 && place.begin < place.end; --leading) place.begin += utf8_step(given, place.begin).size;
    place.begin = std::min(place.begin, place.end);
    std::uint32_t end = place.end;
    std::uint32_t trailing = tokens.edges[i].trailing;
    for (; trailing > 0 && end > 0; --trailing) {
      --end;
      while (end > 0 && continues(given[end])) --end;
    }
    if (trailing == 0) place.end = std::max(end, place.begin);
  }
}

void fill(const Template& step, bool add_special, Tokens& tokens) {
  Tokens out;
  out.placed = tokens.placed;
  out.edged = tokens.edged;
  for (const Template::Part& part : step.parts) {
    if (part.text) {
      out.ids.insert(out.ids.end(), tokens.ids.begin(), tokens.ids.end());
      out.places.insert(out.places.end(), tokens.places.begin(), tokens.places.end());
      out.edges.insert(out.edges.end(), tokens.edges.begin(), tokens.edges.end());
    } else if (add_special) {
      out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
      if (out.placed) out.places.resize(out.ids.size());
      if (out.edged) out.edges.resize(out.ids.size());
    }
  }
  tokens = std::move(out);
}

}  // namespace

Edges edges_of(std::string_view token) {
  static const char32_t kSpace = byte_characters()[' '];
  const auto blank = [](char32_t c) { return c == kSpace || is_space(c); };
  Edges edges;
  std::string_view left = token;
  while (!left.empty()) {
    const Character c = character_at(left, 0);
    if (!blank(c.value)) break;
    ++edges.leading;
    left.remove_prefix(c.size);
  }
  left = token;
  while (!left.empty()) {
    const Character c = last_character(left);
    if (!blank(c.value)) break;
    ++edges.trailing;
    left.remove_suffix(c.size);
  }
  return edges;
}

void post_process(const std::vector<PostProcessor>& steps, std::string_view given, bool add_special, Tokens& tokens) {
  for (const PostProcessor& step : steps) {
    if (const auto* trimming = std::get_if<TrimPlaces>(&step)) {
      trim(*trimming, given, tokens);
    } else {
      fill(std::get<Template>(step), add_special, tokens);
    }
  }
}

}  // namespace orch::tokenizer
