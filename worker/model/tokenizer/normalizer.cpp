#include "model/tokenizer/normalizer.h"

#include <algorithm>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) < 0x80; });
}

/// Calls `each(character, where)` for all of the text.
template <class Each>
void characters(std::string_view text, Each each) {
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    each(c, at);
    at += c.size;
  }
}

/// Whether an open piece has a character for which `wanted` holds: else a step has nothing to do.
template <class Wanted>
bool any(const Passage& passage, Wanted wanted) {
  for (const Piece& piece : passage.pieces) {
    if (piece.token != Piece::kOpen) continue;
    const std::string_view text = passage.text(piece);
    for (std::size_t at = 0; at < text.size();) {
      const Character c = character_at(text, at);
      if (wanted(c.value)) return true;
      at += c.size;
    }
  }
  return false;
}

/// Takes away the characters that are not to be kept.
template <class Keep>
void filter(Passage& passage, std::vector<Change>& changes, Keep keep) {
  if (!any(passage, [keep](char32_t c) { return !keep(c); })) return;
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    changes.clear();
    std::size_t skipped = 0;
    characters(text, [&](Character c, std::size_t) {
      if (keep(c.value)) {
        changes.push_back({c.value, 0});
      } else if (changes.empty()) {
        ++skipped;
      } else {
        --changes.back().change;
      }
    });
    writer.change(changes, skipped);
  });
}

/// Puts one character in another's place.
template <class Map>
void map(Passage& passage, Map mapped) {
  if (!any(passage, [mapped](char32_t c) { return mapped(c) != c; })) return;
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    characters(text, [&](Character c, std::size_t at) { writer.put(to_utf8(mapped(c.value)), at); });
  });
}

void unicode_form(Form form, Passage& passage, std::vector<Change>& changes) {
  const bool needed = std::any_of(passage.pieces.begin(), passage.pieces.end(), [&](const Piece& piece) {
    return piece.token == Piece::kOpen && !is_ascii(passage.text(piece));
  });
  if (!needed) return;
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    if (normal_form(text, form, changes)) {
      writer.change(changes, 0);
    } else {
      writer.copy(0, text.size());
    }
  });
}

void lowercase(Passage& passage) {
  if (!any(passage, [](char32_t c) { return lowered(c).chars[0] != c; })) return;
  passage.rewrite([](std::string_view text, Passage::Writer& writer) {
    characters(text, [&](Character c, std::size_t at) {
      const Lowered lower = lowered(c.value);
      std::string put = to_utf8(lower.chars[0]);
      if (lower.count == 2) append_utf8(put, lower.chars[1]);
      writer.put(put, at);
    });
  });
}

void strip_space(const StripSpace& step, Passage& passage) {
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (step.left && begin < end) {
      const Character c = character_at(text, begin);
      if (!is_space(c.value)) break;
      begin += c.size;
    }
    while (step.right && end > begin) {
      const Character c = last_character(text.substr(0, end));
      if (!is_space(c.value)) break;
      end -= c.size;
    }
    if (begin < end) writer.copy(begin, end);
  });
}

void bert(const BertNormalizer& step, Passage& passage, std::vector<Change>& changes) {
  if (step.clean_text) {
    const auto blank = [](char32_t c) { return c == '\t' || c == '\n' || c == '\r'; };
    filter(passage, changes, [blank](char32_t c) { return blank(c) || (c != 0 && c != 0xFFFD && !is_other(c)); });
    map(passage, [](char32_t c) { return is_space(c) ? U' ' : c; });
  }
  if (step.handle_chinese_chars && any(passage, is_chinese)) {
    passage.rewrite([](std::string_view text, Passage::Writer& writer) {
      characters(text, [&](Character c, std::size_t at) {
        const std::string_view itself = text.substr(at, c.size);
        if (is_chinese(c.value)) {
          writer.put(" " + std::string(itself) + " ", at);
        } else {
          writer.put(itself, at);
        }
      });
    });
  }
  if (step.strip_accents) {
    unicode_form(Form::kNfd, passage, changes);
    filter(passage, changes, [](char32_t c) { return !is_nonspacing(c); });
  }
  if (step.lowercase) lowercase(passage);
}

void nmt(Passage& passage, std::vector<Change>& changes) {
  filter(passage, changes, [](char32_t c) {
    return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F);
  });
  map(passage, [](char32_t c) {
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                       c == 0xFFFD;
    return space ? U' ' : c;
  });
}

/// The changes for a part of the text that gets other characters.
void put_in_place(std::string_view old_part, std::string_view new_part, std::vector<Change>& changes) {
  const auto count = [](std::string_view text) {
    return static_cast<int>(std::count_if(text.begin(), text.end(), [](char byte) { return !continues(byte); }));
  };
  const int more = count(new_part) - count(old_part);
  characters(new_part, [&](Character c, std::size_t) { changes.push_back({c.value, 0}); });
  if (more < 0 && !changes.empty()) changes.back().change += more;
  for (int i = 0; i < more; ++i) changes[changes.size() - 1 - static_cast<std::size_t>(i)].change = 1;
}

void charsmap(const Charsmap& rules, Passage& passage, std::vector<Change>& changes) {
  // A rule is for a cluster of less than six bytes, or for a character.
  constexpr std::size_t kLongestCluster = 6;
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    changes.clear();
    bool changed = false;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = cluster_end(text, at);
      const std::string_view cluster = text.substr(at, end - at);
      at = end;
      if (cluster.size() < kLongestCluster) {
        if (const auto put = rules.replacement(cluster)) {
          put_in_place(cluster, *put, changes);
          changed = true;
          continue;
        }
      }
      characters(cluster, [&](Character c, std::size_t where) {
        const std::string_view itself = cluster.substr(where, c.size);
        if (const auto put = rules.replacement(itself)) {
          put_in_place(itself, *put, changes);
          changed = true;
        } else {
          changes.push_back({c.value, 0});
        }
      });
    }
    if (changed) {
      writer.change(changes, 0);
    } else {
      writer.copy(0, text.size());
    }
  });
}

struct Apply {
  Passage& passage;
  RewriteMemory& memory;

  bool operator()(const UnicodeForm& step) const {
    unicode_form(step.form, passage, memory.changes);
    return true;
  }
  bool operator()(const Lowercase&) const {
    lowercase(passage);
    return true;
  }
  bool operator()(const StripSpace& step) const {
    strip_space(step, passage);
    return true;
  }
  bool operator()(const StripAccents&) const {
    filter(passage, memory.changes, [](char32_t c) { return !is_mark(c); });
    return true;
  }
  bool operator()(const Replace& step) const { return replace(step, passage, memory); }
  bool operator()(const Prepend& step) const {
    passage.rewrite([&](std::string_view text, Passage::Writer& writer) { prepend(step.text, text, writer); });
    return true;
  }
  bool operator()(const BertNormalizer& step) const {
    bert(step, passage, memory.changes);
    return true;
  }
  bool operator()(const Nmt&) const {
    nmt(passage, memory.changes);
    return true;
  }
  bool operator()(const Charsmap& rules) const {
    charsmap(rules, passage, memory.changes);
    return true;
  }
  bool operator()(const ByteAlphabet&) const {
    to_byte_alphabet(passage);
    return true;
  }
};

}  // namespace

void prepend(std::string_view text, std::string_view piece, Passage::Writer& writer) {
  writer.put(text, 0);  // what is put before a piece stands for its first character, too
  writer.copy(0, piece.size());
}

void to_byte_alphabet(Passage& passage) {
  passage.rewrite([](std::string_view text, Passage::Writer& writer) {
    for (std::size_t at = 0; at < text.size(); ++at) writer.put(byte_texts()[static_cast<unsigned char>(text[at])], at);
  });
}

bool replace(const Replace& step, Passage& passage, RewriteMemory& memory) {
  bool in_time = true;
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    std::size_t done = 0;
    const auto found = [&](std::size_t begin, std::size_t end) {
      writer.copy(done, begin);
      writer.insert(step.content, end);
      done = end;
    };
    if (step.regex) {
      in_time = step.regex->each(text, memory.match, found) && in_time;
    } else {
      for (std::size_t at = text.find(step.literal); at != std::string_view::npos; at = text.find(step.literal, done))
        found(at, at + step.literal.size());
    }
    writer.copy(done, text.size());
  });
  return in_time && !passage.overflowed();
}

bool normalize(const std::vector<Normalizer>& steps, Passage& passage, RewriteMemory& memory) {
  return std::all_of(steps.begin(), steps.end(), [&](const Normalizer& step) {
    return std::visit(Apply{passage, memory}, step) && !passage.overflowed();
  });
}

}  // namespace orch::tokenizer
