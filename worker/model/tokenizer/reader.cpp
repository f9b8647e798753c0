#include "model/tokenizer/reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "model/tokenizer/json_fields.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

using nlohmann::json;

constexpr std::size_t kMostSteps = 100;
constexpr std::size_t kLongestContent = 4096;
constexpr int kDeepest = 16;  // Sequence in Sequence
constexpr std::size_t kMostItems = 8'000'000;

/// A name's value in a table, or a problem that says which names there are.
template <class Value, std::size_t N>
Value known(const JsonFields& field, const std::array<std::pair<std::string_view, Value>, N>& table,
            std::string_view what) {
  const std::string name = field.text();
  std::vector<std::string> names;
  for (const auto& [known_name, value] : table) {
    if (known_name == name) return value;
    names.emplace_back(known_name);
  }
  if (field.ok())
    field.fail("no " + std::string(what) + " " + quote(name) + " is known" + hint_sentence(name, names) +
               " Known are " + join(names, ", "));
  return table[0].second;
}

/// The pattern of a Split or Replace.
struct Pattern {
  std::string literal;
  std::shared_ptr<const Regex> regex;
};

std::shared_ptr<const Regex> keep(Result<Regex> regex, const JsonFields& field) {
  if (regex) return std::make_shared<const Regex>(std::move(*regex));
  field.fail(regex.error().what);
  return nullptr;
}

std::shared_ptr<const Regex> regex_of(const JsonFields& field) {
  const auto pattern = pcre2_pattern(field.text());
  if (pattern) return keep(Regex::compile(*pattern), field);
  field.fail(pattern.error().what);
  return nullptr;
}

Pattern read_pattern(const JsonFields& field, bool always_regex) {
  Pattern pattern;
  if (field.has("Regex")) {
    pattern.regex = regex_of(field["Regex"]);
  } else if (field.has("String")) {
    pattern.literal = field["String"].text();
    // An empty text matches between all characters, as a pattern of no characters does.
    if (always_regex || pattern.literal.empty())
      pattern.regex = keep(Regex::compile(literal_pattern(pattern.literal)), field);
  } else {
    field.fail("expected {\"String\": …} or {\"Regex\": …}");
  }
  return pattern;
}

Behavior read_behavior(const JsonFields& field) {
  static constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors = {
      {{"Removed", Behavior::kRemoved},
       {"Isolated", Behavior::kIsolated},
       {"MergedWithPrevious", Behavior::kMergedWithPrevious},
       {"MergedWithNext", Behavior::kMergedWithNext},
       {"Contiguous", Behavior::kContiguous}}};
  return known(field, kBehaviors, "behaviour");
}

Replace read_replace(const JsonFields& field) {
  Pattern pattern = read_pattern(field["pattern"], false);
  std::string content = field["content"].text();
  if (content.size() > kLongestContent) field["content"].fail("a content of more than 4,096 bytes");
  return {std::move(pattern.literal), std::move(pattern.regex), std::move(content)};
}

/// The steps of a list, Sequences in it unfolded, each read by `read(field, steps)`; null is none.
template <class Step, class Read>
void read_steps(const JsonFields& field, const std::string& list, std::vector<Step>& steps, int depth, Read read) {
  if (field.null() || !field.ok()) return;
  if (depth > kDeepest) return field.fail("Sequences are nested deeper than 16 levels");
  if (!field.json().is_object()) return field.fail("expected an object with a type");
  if (field["type"].text() == "Sequence") {
    const std::size_t count = field[list].items(kMostSteps);
    for (std::size_t i = 0; i < count; ++i) read_steps(field[list][i], list, steps, depth + 1, read);
  } else if (field.ok()) {
    read(field, steps);
  }
  if (steps.size() > kMostSteps) field.fail("more than 100 steps");
}

enum class NormalizerKind {
  kBert,
  kStrip,
  kAccents,
  kNfc,
  kNfd,
  kNfkc,
  kNfkd,
  kLower,
  kNmt,
  kChars,
  kReplace,
  kPrepend,
  kBytes
};

void read_normalizer(const JsonFields& field, std::vector<Normalizer>& steps) {
  using enum NormalizerKind;
  static constexpr std::array<std::pair<std::string_view, NormalizerKind>, 14> kKinds = {{{"BertNormalizer", kBert},
                                                                                          {"Bert", kBert},
                                                                                          {"Strip", kStrip},
                                                                                          {"StripAccents", kAccents},
                                                                                          {"NFC", kNfc},
                                                                                          {"NFD", kNfd},
                                                                                          {"NFKC", kNfkc},
                                                                                          {"NFKD", kNfkd},
                                                                                          {"Lowercase", kLower},
                                                                                          {"Nmt", kNmt},
                                                                                          {"Precompiled", kChars},
                                                                                          {"Replace", kReplace},
                                                                                          {"Prepend", kPrepend},
                                                                                          {"ByteLevel", kBytes}}};
  switch (known(field["type"], kKinds, "normaliser")) {
    case kBert: {
      BertNormalizer bert;
      bert.clean_text = field.flag_or("clean_text", true);
      bert.handle_chinese_chars = field.flag_or("handle_chinese_chars", true);
      bert.lowercase = field.flag_or("lowercase", true);
      bert.strip_accents = field.flag_or("strip_accents", bert.lowercase);
      steps.emplace_back(bert);
      return;
    }
    case kStrip:
      return void(steps.emplace_back(StripSpace{field["strip_left"].flag(), field["strip_right"].flag()}));
    case kAccents:
      return void(steps.emplace_back(StripAccents{}));
    case kNfc:
      return void(steps.emplace_back(UnicodeForm{Form::kNfc}));
    case kNfd:
      return void(steps.emplace_back(UnicodeForm{Form::kNfd}));
    case kNfkc:
      return void(steps.emplace_back(UnicodeForm{Form::kNfkc}));
    case kNfkd:
      return void(steps.emplace_back(UnicodeForm{Form::kNfkd}));
    case kLower:
      return void(steps.emplace_back(Lowercase{}));
    case kNmt:
      return void(steps.emplace_back(Nmt{}));
    case kChars: {
      const auto bytes = from_base64(field["precompiled_charsmap"].text());
      if (!bytes) return field.fail("the precompiled_charsmap is not base64");
      auto rules = Charsmap::read(*bytes);
      if (!rules) return field.fail(rules.error().what);
      return void(steps.emplace_back(std::move(*rules)));
    }
    case kReplace:
      return void(steps.emplace_back(read_replace(field)));
    case kPrepend:
      if (field["prepend"].text().size() > kLongestContent) field["prepend"].fail("a text of more than 4,096 bytes");
      return void(steps.emplace_back(Prepend{field["prepend"].text()}));
    case kBytes:
      return void(steps.emplace_back(ByteAlphabet{}));
  }
}

Metaspace read_metaspace(const JsonFields& field) {
  using enum Metaspace::Scheme;
  static constexpr std::array<std::pair<std::string_view, Metaspace::Scheme>, 3> kSchemes = {
      {{"first", kFirst}, {"never", kNever}, {"always", kAlways}}};
  Metaspace metaspace;
  metaspace.replacement = field["replacement"].character();
  const bool prefix = field.flag_or("add_prefix_space", true);
  metaspace.scheme = prefix ? kAlways : kNever;
  if (field.has("prepend_scheme")) metaspace.scheme = known(field["prepend_scheme"], kSchemes, "prepend_scheme");
  if (!prefix && metaspace.scheme != kNever) field.fail("add_prefix_space and prepend_scheme say different things");
  metaspace.split = field.flag_or("split", true);
  return metaspace;
}

enum class PreKind { kBert, kBytes, kChar, kMeta, kWords, kSplit, kPunct, kSpaces, kDigits, kScripts, kFixed };

void read_pre_tokenizer(const JsonFields& field, std::vector<PreTokenizer>& steps) {
  using enum PreKind;
  static constexpr std::array<std::pair<std::string_view, PreKind>, 12> kKinds = {{{"BertPreTokenizer", kBert},
                                                                                   {"ByteLevel", kBytes},
                                                                                   {"CharDelimiterSplit", kChar},
                                                                                   {"Delimiter", kChar},
                                                                                   {"Metaspace", kMeta},
                                                                                   {"Whitespace", kWords},
                                                                                   {"Split", kSplit},
                                                                                   {"Punctuation", kPunct},
                                                                                   {"WhitespaceSplit", kSpaces},
                                                                                   {"Digits", kDigits},
                                                                                   {"UnicodeScripts", kScripts},
                                                                                   {"FixedLength", kFixed}}};
  switch (known(field["type"], kKinds, "pre-tokeniser")) {
    case kBert:
      return void(steps.emplace_back(BertPreTokenizer{}));
    case kBytes: {
      ByteLevel bytes{field.flag_or("add_prefix_space", true), nullptr};
      if (field.flag_or("use_regex", true)) bytes.regex = keep(gpt2_words(), field);
      return void(steps.emplace_back(std::move(bytes)));
    }
    case kChar:
      return void(steps.emplace_back(CharDelimiterSplit{field["delimiter"].character()}));
    case kMeta:
      return void(steps.emplace_back(read_metaspace(field)));
    case kWords:
      return void(steps.emplace_back(SplitPattern{keep(whitespace_words(), field), Behavior::kRemoved, true}));
    case kSplit:
      return void(steps.emplace_back(SplitPattern{read_pattern(field["pattern"], true).regex,
                                                  read_behavior(field["behavior"]), field.flag_or("invert", false)}));
    case kPunct:
      return void(steps.emplace_back(
          Punctuation{field.has("behavior") ? read_behavior(field["behavior"]) : Behavior::kIsolated}));
    case kSpaces:
      return void(steps.emplace_back(WhitespaceSplit{}));
    case kDigits:
      return void(steps.emplace_back(Digits{field.flag_or("individual_digits", false)}));
    case kScripts:
      return void(steps.emplace_back(UnicodeScripts{keep(script_runs(), field)}));
    case kFixed: {
      const std::size_t length = field.has("length") ? field["length"].number(1'000'000) : 5;
      if (length == 0) return field.fail("a length of 0 cuts nothing");
      return void(steps.emplace_back(FixedLength{length}));
    }
  }
}

TokenId read_id(const JsonFields& field) { return static_cast<TokenId>(field.number(Vocabulary::kMostIds - 1)); }

/// [CLS] text [SEP], of fields ["[CLS]", 101].
Template around(const JsonFields& field) {
  Template around;
  around.parts.push_back({false, {read_id(field["cls"][1])}});
  around.parts.push_back({true, {}});
  around.parts.push_back({false, {read_id(field["sep"][1])}});
  return around;
}

Template read_template(const JsonFields& field) {
  Template result;
  const JsonFields single = field["single"];
  const std::size_t count = single.items(kMostSteps);
  std::size_t texts = 0;
  for (std::size_t i = 0; i < count && field.ok(); ++i) {
    if (single[i].has("Sequence")) {
      if (single[i]["Sequence"]["id"].text() == "B") single[i].fail("a template for one text has no sequence B");
      if (++texts > 4) single[i].fail("a template has its text at most four times");
      result.parts.push_back({true, {}});
      continue;
    }
    const std::string id = single[i]["SpecialToken"]["id"].text();
    const JsonFields ids = field["special_tokens"][id]["ids"];
    if (single.ok() && ids.null()) single[i].fail("the special token " + quote(id) + " is not among special_tokens");
    Template::Part part;
    for (std::size_t k = 0, many = ids.items(1000); k < many; ++k) part.ids.push_back(read_id(ids[k]));
    result.parts.push_back(std::move(part));
  }
  return result;
}

enum class PostKind { kTemplate, kBytes, kRoberta, kBert };

void read_post_processor(const JsonFields& field, std::vector<PostProcessor>& steps) {
  using enum PostKind;
  static constexpr std::array<std::pair<std::string_view, PostKind>, 4> kKinds = {{{"TemplateProcessing", kTemplate},
                                                                                   {"ByteLevel", kBytes},
                                                                                   {"RobertaProcessing", kRoberta},
                                                                                   {"BertProcessing", kBert}}};
  const PostKind kind = known(field["type"], kKinds, "post-processor");
  if (kind == kTemplate) return void(steps.emplace_back(read_template(field)));
  if (kind != kBert && field.flag_or("trim_offsets", true))
    steps.emplace_back(TrimPlaces{field.flag_or("add_prefix_space", true)});
  if (kind != kBytes) steps.emplace_back(around(field));
}

enum class DecoderKind { kBytes, kFallback, kFuse, kMeta, kReplace, kStrip, kWordPiece, kBpe, kCtc };

void read_decoder(const JsonFields& field, std::vector<Decoder>& steps) {
  using enum DecoderKind;
  static constexpr std::array<std::pair<std::string_view, DecoderKind>, 9> kKinds = {{{"ByteLevel", kBytes},
                                                                                      {"ByteFallback", kFallback},
                                                                                      {"Fuse", kFuse},
                                                                                      {"Metaspace", kMeta},
                                                                                      {"Replace", kReplace},
                                                                                      {"Strip", kStrip},
                                                                                      {"WordPiece", kWordPiece},
                                                                                      {"BPEDecoder", kBpe},
                                                                                      {"CTC", kCtc}}};
  switch (known(field["type"], kKinds, "decoder")) {
    case kBytes:
      return void(steps.emplace_back(ByteLevelDecoder{}));
    case kFallback:
      return void(steps.emplace_back(ByteFallbackDecoder{}));
    case kFuse:
      return void(steps.emplace_back(FuseDecoder{}));
    case kMeta: {
      const Metaspace metaspace = read_metaspace(field);
      return void(
          steps.emplace_back(MetaspaceDecoder{metaspace.replacement, metaspace.scheme != Metaspace::Scheme::kNever}));
    }
    case kReplace:
      return void(steps.emplace_back(read_replace(field)));
    case kStrip:
      return void(steps.emplace_back(StripDecoder{field["content"].character(), field["start"].number(1'000'000),
                                                  field["stop"].number(1'000'000)}));
    case kWordPiece:
      return void(steps.emplace_back(WordPieceDecoder{field.text_or("prefix", "##"), field.flag_or("cleanup", true)}));
    case kBpe:
      return void(steps.emplace_back(BpeDecoder{field.text_or("suffix", "</w>")}));
    case kCtc:
      return void(
          steps.emplace_back(CtcDecoder{field.text_or("pad_token", "<pad>"), field.text_or("word_delimiter_token", "|"),
                                        field.flag_or("cleanup", true)}));
  }
}

Vocabulary read_vocabulary(const JsonFields& field) {
  Vocabulary vocabulary;
  if (!field.json().is_object()) {
    field.fail("expected an object of pieces and their ids");
    return vocabulary;
  }
  for (const auto& [piece, id] : field.json().items()) {
    if (!id.is_number_unsigned()) {
      field.fail("the id of " + quote(piece) + " is not a whole number from 0");
      break;
    }
    const auto number = id.get<std::uint64_t>();
    const auto problem =
        vocabulary.add(piece, static_cast<TokenId>(std::min<std::uint64_t>(number, Vocabulary::kMostIds)));
    if (!problem) continue;
    field.fail(problem->what);
    break;
  }
  return vocabulary;
}

/// The two pieces of a merge that is written as one text. A piece may hold spaces (copies of Llama 2's file have merges
/// of no-break spaces that became spaces): then the cut counts at which both parts and the whole are pieces, if it is
/// the only one.
std::optional<Bpe::Merge> cut_merge(std::string_view line, const Vocabulary& vocabulary) {
  const std::size_t first = line.find(' ');
  if (first == std::string_view::npos) return std::nullopt;
  if (first == line.rfind(' ')) return Bpe::Merge{line.substr(0, first), line.substr(first + 1)};
  std::optional<Bpe::Merge> found;
  for (std::size_t at = first; at != std::string_view::npos; at = line.find(' ', at + 1)) {
    const std::string_view left = line.substr(0, at);
    const std::string_view right = line.substr(at + 1);
    if (!vocabulary.id(left) || !vocabulary.id(right) || !vocabulary.id(std::string(left).append(right))) continue;
    if (found) return std::nullopt;
    found = Bpe::Merge{left, right};
  }
  return found;
}

Model read_bpe(const JsonFields& field) {
  const JsonFields dropout = field["dropout"];
  if (!dropout.null() && !(dropout.json().is_number() && dropout.json().get<double>() == 0))
    dropout.fail("a dropout makes tokens random; it is for training, set it to null");
  Vocabulary vocabulary = read_vocabulary(field["vocab"]);
  const JsonFields list = field["merges"];
  const std::size_t count = list.items(kMostItems);
  std::vector<Bpe::Merge> merges;
  merges.reserve(count);
  for (std::size_t i = 0; i < count && field.ok(); ++i) {
    const json& merge = list.json()[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    } else if (merge.is_string()) {
      const std::string_view line = merge.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      const auto cut = cut_merge(line, vocabulary);
      if (!cut) {
        list[i].fail(quote(line) + " is not two pieces with a space between");
        break;
      }
      merges.push_back(*cut);
    } else {
      list[i].fail("expected two pieces");
    }
  }
  BpeOptions options;
  if (field.has("unk_token")) options.unknown = field["unk_token"].text();
  options.prefix = field.text_or("continuing_subword_prefix", "");
  options.suffix = field.text_or("end_of_word_suffix", "");
  options.fuse_unknown = field.flag_or("fuse_unk", false);
  options.byte_fallback = field.flag_or("byte_fallback", false);
  options.ignore_merges = field.flag_or("ignore_merges", false);
  if (!field.ok()) return Bpe{};
  auto bpe = Bpe::make(std::move(vocabulary), merges, std::move(options));
  if (bpe) return std::move(*bpe);
  field.fail(bpe.error().what);
  return Bpe{};
}

Model read_unigram(const JsonFields& field) {
  const JsonFields list = field["vocab"];
  const std::size_t count = list.items(Vocabulary::kMostIds);
  Vocabulary vocabulary;
  std::vector<double> scores;
  for (std::size_t i = 0; i < count && field.ok(); ++i) {
    const json& entry = list.json()[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      list[i].fail("expected a piece and its score");
      break;
    }
    if (const auto problem = vocabulary.add(entry[0].get_ref<const std::string&>(), static_cast<TokenId>(i)))
      list[i].fail(problem->what);
    scores.push_back(entry[1].get<double>());
  }
  std::optional<TokenId> unknown;
  if (field.has("unk_id")) unknown = read_id(field["unk_id"]);
  const bool byte_fallback = field.flag_or("byte_fallback", false);
  if (!field.ok()) return Bpe{};
  auto unigram = Unigram::make(std::move(vocabulary), std::move(scores), unknown, byte_fallback);
  if (unigram) return std::move(*unigram);
  field.fail(unigram.error().what);
  return Bpe{};
}

enum class ModelKind { kBpe, kUnigram, kWordPiece, kWordLevel };

/// Files from before there was a `type` are known by what they have.
ModelKind kind_of(const JsonFields& field) {
  using enum ModelKind;
  static constexpr std::array<std::pair<std::string_view, ModelKind>, 4> kKinds = {
      {{"BPE", kBpe}, {"Unigram", kUnigram}, {"WordPiece", kWordPiece}, {"WordLevel", kWordLevel}}};
  if (field.has("type")) return known(field["type"], kKinds, "model");
  if (field.has("merges")) return kBpe;
  if (field.json().is_object() && field["vocab"].json().is_array()) return kUnigram;
  return field.has("max_input_chars_per_word") ? kWordPiece : kWordLevel;
}

Model read_model(const JsonFields& field) {
  if (!field.json().is_object()) {
    field.fail("expected an object, the model");
    return Bpe{};
  }
  switch (kind_of(field)) {
    case ModelKind::kBpe:
      return read_bpe(field);
    case ModelKind::kUnigram:
      return read_unigram(field);
    case ModelKind::kWordPiece: {
      const std::size_t most =
          field.has("max_input_chars_per_word") ? field["max_input_chars_per_word"].number(1'000'000) : 100;
      return WordPiece(read_vocabulary(field["vocab"]), field.text_or("unk_token", "[UNK]"),
                       field.text_or("continuing_subword_prefix", "##"), most);
    }
    case ModelKind::kWordLevel:
      return WordLevel(read_vocabulary(field["vocab"]), field.text_or("unk_token", "<unk>"));
  }
  return Bpe{};
}

/// The added tokens, and a remark where the id that the file says is not the one that the token has.
void read_added(const JsonFields& list, Parts& parts) {
  if (list.null()) return;
  const std::size_t count = list.items(1'000'000);
  for (std::size_t i = 0; i < count && list.ok(); ++i) {
    const JsonFields field = list[i];
    AddedToken token = read_added_token(field);
    const TokenId said = read_id(field["id"]);
    const auto known_id = vocabulary_of(parts.model).id(token.content);
    if (field.ok() && known_id && *known_id != said && parts.remarks.size() < 20)
      parts.remarks.push_back("the added token " + quote(token.content) + " is said to have the id " +
                              std::to_string(said) + "; the vocabulary's is " + std::to_string(*known_id) +
                              ", and that counts");
    parts.added.push_back(std::move(token));
  }
}

}  // namespace

Result<Parts> read_tokenizer_json(std::string_view text, const std::string& name) {
  const auto document = parse_json(text, name);
  if (!document) return document.error();
  JsonFields::Problem problem{name, std::nullopt};
  const JsonFields root(*document, "", problem);
  if (!document->is_object()) return Error{name + " is not a tokenizer: expected an object"};
  if (root.has("version") && root["version"].text() != "1.0")
    return Error{name + ": version " + quote(root["version"].text()) + " is not known; 1.0 is"};
  Parts parts;
  parts.model = read_model(root["model"]);
  read_steps(root["normalizer"], "normalizers", parts.normalizers, 0, read_normalizer);
  read_steps(root["pre_tokenizer"], "pretokenizers", parts.pre_tokenizers, 0, read_pre_tokenizer);
  read_steps(root["post_processor"], "processors", parts.post_processors, 0, read_post_processor);
  parts.has_decoder = root.has("decoder");
  read_steps(root["decoder"], "decoders", parts.decoders, 0, read_decoder);
  read_added(root["added_tokens"], parts);
  for (const char* ignored : {"truncation", "padding"})
    if (root.has(ignored)) parts.remarks.push_back(std::string(ignored) + " is not applied: texts keep their length");
  if (problem.what) return Error{*problem.what};
  return parts;
}

Result<Parts> read_gpt2_files(std::string_view vocabulary, std::string_view merges, const std::string& folder,
                              bool add_prefix_space) {
  const std::string name = folder + "/vocab.json";
  const auto document = parse_json(vocabulary, name);
  if (!document) return document.error();
  JsonFields::Problem problem{name, std::nullopt};
  Vocabulary pieces = read_vocabulary({*document, "", problem});
  if (problem.what) return Error{*problem.what};
  if (!sound_utf8(merges)) return Error{folder + "/merges.txt is not UTF-8"};
  std::vector<Bpe::Merge> list;
  std::size_t line = 0;
  for (std::string_view text : orch::split(merges, '\n')) {
    ++line;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty() || text.starts_with("#version")) continue;
    const auto cut = cut_merge(text, pieces);
    if (!cut)
      return Error{folder + "/merges.txt:" + std::to_string(line) + ": " + quote(text) +
                   " is not two pieces with a space between"};
    list.push_back(*cut);
  }
  auto bpe = Bpe::make(std::move(pieces), list, {});
  if (!bpe) return Error{folder + "/merges.txt: " + bpe.error().what};
  Parts parts;
  parts.model = std::move(*bpe);
  auto words = gpt2_words();
  if (!words) return words.error();
  parts.pre_tokenizers.emplace_back(ByteLevel{add_prefix_space, std::make_shared<const Regex>(std::move(*words))});
  parts.post_processors.emplace_back(TrimPlaces{add_prefix_space});
  parts.has_decoder = true;
  parts.decoders.emplace_back(ByteLevelDecoder{});
  return parts;
}

}  // namespace orch::tokenizer
