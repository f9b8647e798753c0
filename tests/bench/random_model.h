// A Llama of a known shape whose weights are random: for speed it does not matter what they say.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace orch::bench {

struct ModelShape {
  std::string_view name;
  std::int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, inner = 0, vocab = 0;
};

/// `1b` is Llama-3.2-1B's, `100m` has GPT-2's vocabulary, `pupil` is the same with 32,000 words, `tiny` is for tests.
/// Null: no such name.
const ModelShape* shape_of(std::string_view name);

/// Writes config.json and model.safetensors (bf16, tied embeddings) as they lie on the Hugging Face hub. The same shape
/// gives the same bytes. `tokenizer`: a folder whose vocab.json and merges.txt are copied there, or empty.
Result<bool> write_model(const ModelShape& shape, const std::filesystem::path& folder,
                         const std::filesystem::path& tokenizer);

}  // namespace orch::bench
