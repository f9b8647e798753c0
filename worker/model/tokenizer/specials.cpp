#include "model/tokenizer/specials.h"

#include <algorithm>
#include <fstream>

#include "base/text.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/json_fields.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{32} << 20;

/// A special token is written as a text, or as an object that holds it.
std::optional<std::string> token_name(const JsonFields& field) {
  if (field.null()) return std::nullopt;
  if (field.json().is_object()) return field["content"].text();
  return field.text();
}

void read_names(const JsonFields& root, Companions& companions) {
  const auto read = [&root](const char* key, std::optional<std::string>& name) {
    if (auto found = token_name(root[key])) name = std::move(found);
  };
  read("bos_token", companions.bos);
  read("eos_token", companions.eos);
  read("unk_token", companions.unknown);
  read("pad_token", companions.pad);
}

void read_added_tokens(const JsonFields& decoder, Companions& companions) {
  if (!decoder.json().is_object()) return;
  std::vector<std::pair<std::uint64_t, AddedToken>> tokens;
  for (const auto& [key, value] : decoder.json().items()) {
    const bool number = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!number) return decoder.fail("the id " + quote(key) + " is not a number");
    tokens.emplace_back(std::stoull(key), read_added_token(decoder[key]));
  }
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, token] : tokens) companions.added.push_back(std::move(token));
}

void read_chat_template(const JsonFields& field, Specials& specials) {
  if (field.null()) return;
  if (field.json().is_string()) {
    specials.chat_template = field.text();
    return;
  }
  for (std::size_t i = 0, count = field.items(100); i < count; ++i) {
    specials.chat_templates.emplace_back(field[i]["name"].text(), field[i]["template"].text());
    if (specials.chat_templates.back().first == "default")
      specials.chat_template = specials.chat_templates.back().second;
  }
}

void read_config(const JsonFields& root, Companions& companions) {
  read_names(root, companions);
  companions.tokenizer_class = root.text_or("tokenizer_class", "");
  if (root.has("add_prefix_space")) companions.add_prefix_space = root["add_prefix_space"].flag();
  if (root.has("add_bos_token")) companions.specials.add_bos = root["add_bos_token"].flag();
  if (root.has("add_eos_token")) companions.specials.add_eos = root["add_eos_token"].flag();
  companions.specials.clean_up_spaces = root.flag_or("clean_up_tokenization_spaces", false);
  read_chat_template(root["chat_template"], companions.specials);
  read_added_tokens(root["added_tokens_decoder"], companions);
}

void read_generation(const JsonFields& root, Companions& companions) {
  const auto id = [](const JsonFields& field) { return static_cast<TokenId>(field.number(Vocabulary::kMostIds - 1)); };
  if (root.has("bos_token_id")) companions.bos_id = id(root["bos_token_id"]);
  if (root.has("pad_token_id")) companions.pad_id = id(root["pad_token_id"]);
  const JsonFields eos = root["eos_token_id"];
  if (eos.json().is_array()) {
    for (std::size_t i = 0, count = eos.items(1000); i < count; ++i) companions.eos_ids.push_back(id(eos[i]));
  } else if (!eos.null()) {
    companions.eos_ids.push_back(id(eos));
  }
}

}  // namespace

Result<std::optional<std::string>> read_file(const fs::path& path, std::size_t most) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<std::string>();
  if (!fs::is_regular_file(path, error)) return Error{path.string() + " is not a file"};
  const std::uintmax_t size = fs::file_size(path, error);
  if (error) return Error{path.string() + " cannot be read: " + error.message()};
  if (size > most)
    return Error{path.string() + " has " + std::to_string(size) + " bytes; at most " + std::to_string(most) +
                 " are read"};
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size())))
    return Error{path.string() + " cannot be read"};
  return std::optional(std::move(text));
}

Result<Companions> read_companions(const fs::path& folder) {
  Companions companions;
  const std::pair<const char*, void (*)(const JsonFields&, Companions&)> files[] = {
      {"special_tokens_map.json", read_names},
      {"tokenizer_config.json", read_config},
      {"generation_config.json", read_generation}};
  for (const auto& [name, read] : files) {
    const fs::path path = folder / name;
    const auto text = read_file(path, kMostBytes);
    if (!text) return text.error();
    if (!*text) continue;
    const auto document = parse_json(**text, path.string());
    if (!document) return document.error();
    JsonFields::Problem problem{path.string(), std::nullopt};
    read({*document, "", problem}, companions);
    if (problem.what) return Error{*problem.what};
  }
  auto jinja = read_file(folder / "chat_template.jinja", kMostBytes);
  if (!jinja) return jinja.error();
  if (*jinja) companions.specials.chat_template = lossy_utf8(**jinja);
  return companions;
}

Specials resolve(const Companions& companions, const std::function<std::optional<TokenId>(const std::string&)>& id_of) {
  Specials specials = companions.specials;
  const auto named = [&id_of](const std::optional<std::string>& name) {
    return name ? id_of(*name) : std::optional<TokenId>();
  };
  const auto either = [](std::optional<TokenId> first, std::optional<TokenId> second) {
    return first ? first : second;
  };
  specials.bos = either(named(companions.bos), companions.bos_id);
  specials.pad = either(named(companions.pad), companions.pad_id);
  specials.unknown = named(companions.unknown);
  if (const auto eos = named(companions.eos)) specials.eos.push_back(*eos);
  for (const TokenId id : companions.eos_ids)
    if (std::find(specials.eos.begin(), specials.eos.end(), id) == specials.eos.end()) specials.eos.push_back(id);
  return specials;
}

}  // namespace orch::tokenizer
