// What the files beside a tokenizer say of it: the ids of its special tokens, and its chat templates.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/added_tokens.h"

namespace orch::tokenizer {

struct Specials {
  std::optional<TokenId> bos;
  std::optional<TokenId> unknown;
  std::optional<TokenId> pad;
  std::vector<TokenId> eos;     ///< each of them ends an answer; the tokenizer's own one first
  std::optional<bool> add_bos;  ///< as tokenizer_config.json says
  std::optional<bool> add_eos;  ///< as tokenizer_config.json says
  std::string chat_template;    ///< the default one, or empty
  std::vector<std::pair<std::string, std::string>> chat_templates;  ///< all that have names
  bool clean_up_spaces = false;  ///< whether transformers would take spaces before punctuation out of decoded text
};

/// tokenizer_config.json, special_tokens_map.json, generation_config.json and chat_template.jinja of a folder, as far
/// as they are there. Names are turned into ids when the tokenizer is whole.
struct Companions {
  std::string tokenizer_class;
  std::optional<bool> add_prefix_space;
  std::optional<std::string> bos, eos, unknown, pad;
  std::vector<AddedToken> added;  ///< the added_tokens_decoder, by id
  std::optional<TokenId> bos_id, pad_id;
  std::vector<TokenId> eos_ids;
  Specials specials;  ///< what needs no ids
};
Result<Companions> read_companions(const std::filesystem::path& folder);

/// Turns names into ids.
Specials resolve(const Companions& companions, const std::function<std::optional<TokenId>(const std::string&)>& id_of);

/// A whole file of at most `most` bytes; nothing where there is none.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path, std::size_t most);

}  // namespace orch::tokenizer
