// Reading tokenizer files into the parts of a tokenizer. The files are hostile input: they are checked whole and
// bounded, and an error names the file, the place in it, and what was expected.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/decoder.h"
#include "model/tokenizer/model.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/post_processor.h"
#include "model/tokenizer/pre_tokenizer.h"

namespace orch::tokenizer {

struct Parts {
  std::vector<Normalizer> normalizers;
  std::vector<PreTokenizer> pre_tokenizers;
  Model model;
  std::vector<PostProcessor> post_processors;
  bool has_decoder = false;
  std::vector<Decoder> decoders;
  std::vector<AddedToken> added;
  std::vector<std::string> remarks;  ///< what a reader of the file may want to know, though nothing is wrong
};

/// A `tokenizer.json`. `name` is what errors call it.
Result<Parts> read_tokenizer_json(std::string_view text, const std::string& name);

/// GPT-2's `vocab.json` and `merges.txt`.
Result<Parts> read_gpt2_files(std::string_view vocabulary, std::string_view merges, const std::string& folder,
                              bool add_prefix_space);

}  // namespace orch::tokenizer
