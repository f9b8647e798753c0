#include "model/tokenizer/decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

using Texts = std::vector<std::string>;

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  if (what.empty()) return;
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, done)) {
    out.append(text, done, at - done).append(by);
    done = at + what.size();
  }
  if (done > 0) text = out.append(text, done);
}

/// Takes back the spaces that cutting into words left in English text.
void clean_up(std::string& text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRules = {{{" .", "."},
                                                                                            {" ?", "?"},
                                                                                            {" !", "!"},
                                                                                            {" ,", ","},
                                                                                            {" ' ", "'"},
                                                                                            {" n't", "n't"},
                                                                                            {" 'm", "'m"},
                                                                                            {" do not", " don't"},
                                                                                            {" 's", "'s"},
                                                                                            {" 've", "'ve"},
                                                                                            {" 're", "'re"}}};
  for (const auto& [what, by] : kRules) replace_all(text, what, by);
}

/// The byte that a token like <0x0A> stands for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  for (const char c : token.substr(3, 2)) {
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                           : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A') + 10
                                                  : 16;
    if (digit == 16) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(static_cast<unsigned char>(value));
}

struct Apply {
  Texts& texts;

  bool operator()(const ByteLevelDecoder&) const {
    std::string bytes;
    for (const std::string& text : texts) bytes += bytes_of(text).value_or(text);
    texts.assign(1, lossy_utf8(bytes));
    return true;
  }
  bool operator()(const ByteFallbackDecoder&) const {
    Texts out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (sound_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), std::string(kReplacement));
      }
      bytes.clear();
    };
    for (std::string& text : texts) {
      if (const auto byte = fallback_byte(text)) {
        bytes += *byte;
      } else {
        flush();
        out.push_back(std::move(text));
      }
    }
    flush();
    texts = std::move(out);
    return true;
  }
  bool operator()(const FuseDecoder&) const {
    std::string whole;
    for (const std::string& text : texts) whole += text;
    texts.assign(1, std::move(whole));
    return true;
  }
  bool operator()(const MetaspaceDecoder& step) const {
    const std::string mark = to_utf8(step.replacement);
    for (std::size_t i = 0; i < texts.size(); ++i) replace_all(texts[i], mark, i == 0 && step.prepended ? "" : " ");
    return true;
  }
  bool operator()(const Replace& step) const {
    RewriteMemory memory;
    Passage passage;
    for (std::string& text : texts) {
      passage.start(text, false);
      if (!replace(step, passage, memory)) return false;
      text = std::string(passage.text());
    }
    return true;
  }
  bool operator()(const StripDecoder& step) const {
    const std::string content = to_utf8(step.content);
    for (std::string& text : texts) {
      std::string_view left = text;
      for (std::size_t i = 0; i < step.start && left.starts_with(content); ++i) left.remove_prefix(content.size());
      for (std::size_t i = 0; i < step.stop && left.ends_with(content); ++i) left.remove_suffix(content.size());
      text = std::string(left);
    }
    return true;
  }
  bool operator()(const WordPieceDecoder& step) const {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (i > 0 && texts[i].starts_with(step.prefix)) {
        texts[i].erase(0, step.prefix.size());
      } else if (i > 0) {
        texts[i].insert(0, 1, ' ');
      }
      if (step.cleanup) clean_up(texts[i]);
    }
    return true;
  }
  bool operator()(const BpeDecoder& step) const {
    for (std::size_t i = 0; i < texts.size(); ++i) replace_all(texts[i], step.suffix, i + 1 == texts.size() ? "" : " ");
    return true;
  }
  bool operator()(const CtcDecoder& step) const {
    texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
    for (std::string& text : texts) {
      replace_all(text, step.pad_token, "");
      if (!step.cleanup) continue;
      clean_up(text);
      replace_all(text, step.word_delimiter_token, " ");
    }
    std::erase(texts, "");
    return true;
  }
};

}  // namespace

std::optional<std::string> decode(const std::vector<Decoder>& steps, std::vector<std::string> tokens) {
  for (const Decoder& step : steps)
    if (!std::visit(Apply{tokens}, step)) return std::nullopt;
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace orch::tokenizer
