#include "bench/random_model.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/number.h"

namespace orch::bench {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::array kShapes = {
    ModelShape{"1b", 16, 2048, 32, 8, 64, 8192, 128256},
    ModelShape{"100m", 12, 768, 12, 4, 64, 2048, 50257},
    ModelShape{"pupil", 12, 768, 12, 4, 64, 2048, 32000},
    ModelShape{"tiny", 2, 64, 4, 2, 16, 96, 50257},
};

struct Named {
  std::string name;
  std::int64_t rows = 0, cols = 0;  ///< no cols: a norm's weight, of ones
};

std::vector<Named> tensors_of(const ModelShape& it) {
  std::vector<Named> all = {{"model.embed_tokens.weight", it.vocab, it.hidden}, {"model.norm.weight", it.hidden, 0}};
  for (std::int64_t layer = 0; layer < it.layers; ++layer) {
    const std::string before = "model.layers." + std::to_string(layer) + ".";
    all.insert(all.end(), {{before + "input_layernorm.weight", it.hidden, 0},
                           {before + "post_attention_layernorm.weight", it.hidden, 0},
                           {before + "self_attn.q_proj.weight", it.heads * it.head_dim, it.hidden},
                           {before + "self_attn.k_proj.weight", it.kv_heads * it.head_dim, it.hidden},
                           {before + "self_attn.v_proj.weight", it.kv_heads * it.head_dim, it.hidden},
                           {before + "self_attn.o_proj.weight", it.hidden, it.heads * it.head_dim},
                           {before + "mlp.gate_proj.weight", it.inner, it.hidden},
                           {before + "mlp.up_proj.weight", it.inner, it.hidden},
                           {before + "mlp.down_proj.weight", it.hidden, it.inner}});
  }
  return all;
}

ordered_json config_of(const ModelShape& it) {
  const std::int64_t end = std::min<std::int64_t>(50256, it.vocab - 1);  // GPT-2's
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", it.hidden},
          {"intermediate_size", it.inner},
          {"num_hidden_layers", it.layers},
          {"num_attention_heads", it.heads},
          {"num_key_value_heads", it.kv_heads},
          {"head_dim", it.head_dim},
          {"vocab_size", it.vocab},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 500000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"bos_token_id", end},
          {"eos_token_id", end},
          {"torch_dtype", "bfloat16"}};
}

}  // namespace

const ModelShape* shape_of(std::string_view name) {
  for (const ModelShape& shape : kShapes)
    if (shape.name == name) return &shape;
  return nullptr;
}

Result<bool> write_model(const ModelShape& shape, const fs::path& folder, const fs::path& tokenizer) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) return Error{folder.string() + ": " + problem.message()};
  std::ofstream(folder / "config.json") << config_of(shape).dump(2) << "\n";
  if (!tokenizer.empty()) {
    for (const char* file : {"vocab.json", "merges.txt"}) {
      fs::copy_file(tokenizer / file, folder / file, fs::copy_options::overwrite_existing, problem);
      if (problem) return Error{(tokenizer / file).string() + ": " + problem.message()};
    }
    // What transformers wants to know beside it.
    const char* const end = "<|endoftext|>";
    std::ofstream(folder / "tokenizer_config.json") << ordered_json{
        {"tokenizer_class", "GPT2Tokenizer"}, {"bos_token", end}, {"eos_token", end}, {"unk_token", end}};
  }

  const std::vector<Named> tensors = tensors_of(shape);
  ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::int64_t offset = 0;
  for (const Named& tensor : tensors) {
    const std::int64_t bytes = tensor.rows * std::max<std::int64_t>(1, tensor.cols) * 2;
    ordered_json dimensions = {tensor.rows};
    if (tensor.cols > 0) dimensions.push_back(tensor.cols);
    header[tensor.name] = {{"dtype", "BF16"}, {"shape", dimensions}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::ofstream out(folder / "model.safetensors", std::ios::binary);
  const std::uint64_t length = text.size();
  for (int byte = 0; byte < 8; ++byte) out.put(static_cast<char>(length >> (8 * byte)));
  out << text;

  // Drawn from a table: normal numbers made one by one would take a minute.
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<kernels::Bf16> drawn(1U << 16);
  for (kernels::Bf16& each : drawn) each = kernels::from_float<kernels::Bf16>(normal(random));
  std::vector<kernels::Bf16> row;
  for (const Named& tensor : tensors) {
    if (tensor.cols == 0) {
      row.assign(static_cast<std::size_t>(tensor.rows), kernels::from_float<kernels::Bf16>(1));
      out.write(reinterpret_cast<const char*>(row.data()), tensor.rows * 2);
      continue;
    }
    row.resize(static_cast<std::size_t>(tensor.cols));
    for (std::int64_t r = 0; r < tensor.rows; ++r) {
      for (std::size_t k = 0; k < row.size();)
        for (std::uint64_t bits = random(), part = 0; part < 4 && k < row.size(); ++part, bits >>= 16)
          row[k++] = drawn[bits & 0xffff];
      out.write(reinterpret_cast<const char*>(row.data()), tensor.cols * 2);
    }
  }
  out.close();
  if (!out) return Error{(folder / "model.safetensors").string() + ": cannot be written"};
  return true;
}

}  // namespace orch::bench
