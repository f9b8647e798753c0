#include "model/tokenizer/pre_tokenizer.h"

#include <array>

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

/// Every character for which `wanted` holds is a match.
template <class Wanted>
void split_characters(Passage& passage, std::vector<Piece>& spare, Behavior behavior, Wanted wanted) {
  split(passage, spare, behavior, false, [wanted](std::string_view text, Cutter& cutter) {
    for (std::size_t at = 0; at < text.size();) {
      const Character c = character_at(text, at);
      if (wanted(c.value)) cutter.match(at, at + c.size);
      at += c.size;
    }
  });
}

bool split_regex(Passage& passage, std::vector<Piece>& spare, const SplitPattern& step, MatchMemory& memory) {
  bool in_time = true;
  split(passage, spare, step.behavior, step.inverted, [&](std::string_view text, Cutter& cutter) {
    in_time = step.regex->each(text, memory, [&](std::size_t begin, std::size_t end) { cutter.match(begin, end); }) &&
              in_time;
  });
  return in_time;
}

void metaspace(const Metaspace& step, Passage& passage, std::vector<Piece>& spare) {
  const std::string mark = to_utf8(step.replacement);
  passage.rewrite([&](std::string_view text, Passage::Writer& writer) {
    const bool marked = text.starts_with(' ') || text.starts_with(mark);
    const bool wanted =
        step.scheme == Metaspace::Scheme::kAlways || (step.scheme == Metaspace::Scheme::kFirst && writer.source() == 0);
    if (!marked && wanted) writer.put(mark, 0);
    std::size_t done = 0;
    for (std::size_t at = text.find(' '); at != std::string_view::npos; at = text.find(' ', done)) {
      writer.copy(done, at);
      writer.put(mark, at);
      done = at + 1;
    }
    writer.copy(done, text.size());
  });
  if (!step.split) return;
  split(passage, spare, Behavior::kMergedWithNext, false, [&](std::string_view text, Cutter& cutter) {
    for (std::size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + mark.size()))
      cutter.match(at, at + mark.size());
  });
}

struct Apply {
  Passage& passage;
  RewriteMemory& memory;
  std::vector<Piece>& spare;
  bool leave_bytes;  ///< the last step's alphabet is the model's

  bool operator()(const ByteLevel& step) const {
    if (step.add_prefix_space)
      passage.rewrite([](std::string_view text, Passage::Writer& writer) {
        if (!text.starts_with(' ')) writer.put(" ", 0);
        writer.copy(0, text.size());
      });
    if (step.regex && !split_regex(passage, spare, {step.regex, Behavior::kIsolated, false}, memory.match))
      return false;
    if (!leave_bytes) to_byte_alphabet(passage);
    return true;
  }
  bool operator()(const SplitPattern& step) const { return split_regex(passage, spare, step, memory.match); }
  bool operator()(const Digits& step) const {
    split_characters(passage, spare, step.individual ? Behavior::kIsolated : Behavior::kContiguous, is_numeric);
    return true;
  }
  bool operator()(const Punctuation& step) const {
    split_characters(passage, spare, step.behavior, is_punctuation);
    return true;
  }
  bool operator()(const WhitespaceSplit&) const {
    split_characters(passage, spare, Behavior::kRemoved, is_space);
    return true;
  }
  bool operator()(const BertPreTokenizer&) const {
    split_characters(passage, spare, Behavior::kRemoved, is_space);
    split_characters(passage, spare, Behavior::kIsolated, is_punctuation);
    return true;
  }
  bool operator()(const Metaspace& step) const {
    metaspace(step, passage, spare);
    return true;
  }
  bool operator()(const CharDelimiterSplit& step) const {
    split_characters(passage, spare, Behavior::kRemoved, [&step](char32_t c) { return c == step.delimiter; });
    return true;
  }
  bool operator()(const UnicodeScripts& step) const {
    // What stands before the first character that has a script is lost, as it is in the reference.
    return split_regex(passage, spare, {step.runs, Behavior::kRemoved, true}, memory.match);
  }
  bool operator()(const FixedLength& step) const {
    split(passage, spare, Behavior::kIsolated, false, [&step](std::string_view text, Cutter& cutter) {
      std::size_t begin = 0;
      std::size_t count = 0;
      for (std::size_t at = 0; at < text.size();) {
        at += character_at(text, at).size;
        if (++count % step.length != 0 && at < text.size()) continue;
        cutter.match(begin, at);
        begin = at;
      }
    });
    return true;
  }
};

}  // namespace

Result<Regex> gpt2_words() {
  const auto pattern = pcre2_pattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
  return pattern ? Regex::compile(*pattern) : Result<Regex>(pattern.error());
}

Result<Regex> whitespace_words() {
  const std::string word = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d})";
  return Regex::compile("[" + word + "]+|[^" + word + R"(\p{White_Space}]+)");
}

Result<Regex> script_runs() {
  // The scripts of Unicode 9, with which these files are made. Han, Hiragana and Katakana are one; what has no script,
  // or a younger one, goes with what stands before it, and so does a space.
  static constexpr std::array<std::string_view, 133> kScripts = {"Latin",
                                                                 "Cyrillic",
                                                                 "Inherited",
                                                                 "Adlam",
                                                                 "Ahom",
                                                                 "Anatolian_Hieroglyphs",
                                                                 "Arabic",
                                                                 "Armenian",
                                                                 "Avestan",
                                                                 "Balinese",
                                                                 "Bamum",
                                                                 "Bassa_Vah",
                                                                 "Batak",
                                                                 "Bengali",
                                                                 "Bhaiksuki",
                                                                 "Bopomofo",
                                                                 "Brahmi",
                                                                 "Braille",
                                                                 "Buginese",
                                                                 "Buhid",
                                                                 "Canadian_Aboriginal",
                                                                 "Carian",
                                                                 "Caucasian_Albanian",
                                                                 "Chakma",
                                                                 "Cham",
                                                                 "Cherokee",
                                                                 "Coptic",
                                                                 "Cuneiform",
                                                                 "Cypriot",
                                                                 "Deseret",
                                                                 "Devanagari",
                                                                 "Duployan",
                                                                 "Egyptian_Hieroglyphs",
                                                                 "Elbasan",
                                                                 "Ethiopic",
                                                                 "Georgian",
                                                                 "Glagolitic",
                                                                 "Gothic",
                                                                 "Grantha",
                                                                 "Greek",
                                                                 "Gujarati",
                                                                 "Gurmukhi",
                                                                 "Hangul",
                                                                 "Hanunoo",
                                                                 "Hatran",
                                                                 "Hebrew",
                                                                 "Imperial_Aramaic",
                                                                 "Inscriptional_Pahlavi",
                                                                 "Inscriptional_Parthian",
                                                                 "Javanese",
                                                                 "Kaithi",
                                                                 "Kannada",
                                                                 "Kayah_Li",
                                                                 "Kharoshthi",
                                                                 "Khmer",
                                                                 "Khojki",
                                                                 "Khudawadi",
                                                                 "Lao",
                                                                 "Lepcha",
                                                                 "Limbu",
                                                                 "Linear_A",
                                                                 "Linear_B",
                                                                 "Lisu",
                                                                 "Lycian",
                                                                 "Lydian",
                                                                 "Mahajani",
                                                                 "Malayalam",
                                                                 "Mandaic",
                                                                 "Manichaean",
                                                                 "Marchen",
                                                                 "Meetei_Mayek",
                                                                 "Mende_Kikakui",
                                                                 "Meroitic_Cursive",
                                                                 "Meroitic_Hieroglyphs",
                                                                 "Miao",
                                                                 "Modi",
                                                                 "Mongolian",
                                                                 "Mro",
                                                                 "Multani",
                                                                 "Myanmar",
                                                                 "Nabataean",
                                                                 "New_Tai_Lue",
                                                                 "Newa",
                                                                 "Nko",
                                                                 "Ogham",
                                                                 "Ol_Chiki",
                                                                 "Old_Hungarian",
                                                                 "Old_Italic",
                                                                 "Old_North_Arabian",
                                                                 "Old_Permic",
                                                                 "Old_Persian",
                                                                 "Old_South_Arabian",
                                                                 "Old_Turkic",
                                                                 "Oriya",
                                                                 "Osage",
                                                                 "Osmanya",
                                                                 "Pahawh_Hmong",
                                                                 "Palmyrene",
                                                                 "Pau_Cin_Hau",
                                                                 "Phags_Pa",
                                                                 "Phoenician",
                                                                 "Psalter_Pahlavi",
                                                                 "Rejang",
                                                                 "Runic",
                                                                 "Samaritan",
                                                                 "Saurashtra",
                                                                 "Sharada",
                                                                 "Shavian",
                                                                 "Siddham",
                                                                 "SignWriting",
                                                                 "Sinhala",
                                                                 "Sora_Sompeng",
                                                                 "Sundanese",
                                                                 "Syloti_Nagri",
                                                                 "Syriac",
                                                                 "Tagalog",
                                                                 "Tagbanwa",
                                                                 "Tai_Le",
                                                                 "Tai_Tham",
                                                                 "Tai_Viet",
                                                                 "Takri",
                                                                 "Tamil",
                                                                 "Tangut",
                                                                 "Telugu",
                                                                 "Thaana",
                                                                 "Thai",
                                                                 "Tibetan",
                                                                 "Tifinagh",
                                                                 "Tirhuta",
                                                                 "Ugaritic",
                                                                 "Vai",
                                                                 "Warang_Citi",
                                                                 "Yi"};
  static constexpr std::array<std::string_view, 24> kYounger = {"Dogra",
                                                                "Gunjala_Gondi",
                                                                "Hanifi_Rohingya",
                                                                "Makasar",
                                                                "Medefaidrin",
                                                                "Old_Sogdian",
                                                                "Sogdian",
                                                                "Elymaic",
                                                                "Nandinagari",
                                                                "Nyiakeng_Puachue_Hmong",
                                                                "Wancho",
                                                                "Chorasmian",
                                                                "Dives_Akuru",
                                                                "Khitan_Small_Script",
                                                                "Yezidi",
                                                                "Cypro_Minoan",
                                                                "Old_Uyghur",
                                                                "Tangsa",
                                                                "Toto",
                                                                "Vithkuqi",
                                                                "Masaram_Gondi",
                                                                "Nushu",
                                                                "Soyombo",
                                                                "Zanabazar_Square"};
  std::string none = R"( \p{sc:Unknown})";
  for (const std::string_view script : kYounger) none.append("\\p{sc:").append(script).append("}");
  const std::string common = R"((?:[^\P{sc:Common}\x{30FC} ]))";
  std::string pattern = common + "(?:" + common + "|[" + none + "])*+";
  const auto add = [&](const std::string& of) { pattern += "|[" + of + "][" + of + none + "]*+"; };
  add(R"(\p{sc:Han}\p{sc:Hiragana}\p{sc:Katakana}\x{30FC})");
  for (const std::string_view script : kScripts) add("\\p{sc:" + std::string(script) + "}");
  return Regex::compile(pattern);
}

bool pre_tokenize(const std::vector<PreTokenizer>& steps, bool reads_bytes, Passage& passage, RewriteMemory& memory,
                  std::vector<Piece>& spare) {
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (!std::visit(Apply{passage, memory, spare, reads_bytes && i + 1 == steps.size()}, steps[i]) ||
        passage.overflowed())
      return false;
  return true;
}

}  // namespace orch::tokenizer
