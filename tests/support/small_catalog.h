// A catalog small enough to count by hand, and shorthands to read and expand matrices with it.
#pragma once

#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/catalog.h"
#include "base/yaml.h"
#include "matrix/expand.h"
#include "matrix/matrix.h"

namespace orch::test {

inline Model small_model(std::string name, std::string family, double params, std::int64_t context, DType dtype,
                         std::vector<Engine> engines) {
  Model model;
  model.hf_id = "org/" + name;
  model.name = std::move(name);
  model.family = std::move(family);
  model.params = model.active_params = params;
  model.context = context;
  model.dtype = dtype;
  model.scales = dtype == DType::kFp8 ? Scales::kChannel : Scales::kNone;
  model.engines = std::move(engines);
  Decoder decoder;
  decoder.layers = 32;
  decoder.hidden = 4096;
  decoder.heads = 32;
  decoder.kv_heads = 8;
  decoder.head_dim = 128;
  decoder.ffn = 14336;
  decoder.vocab = 128256;
  model.decoder = decoder;
  return model;
}

inline Task small_task(std::string name, TaskKind kind, std::string group, std::string type, int shots,
                       double prompt_tokens, double shot_tokens, int max_output_tokens) {
  Task task;
  task.hf_id = "data/" + name;
  task.name = std::move(name);
  task.kind = kind;
  task.group = std::move(group);
  task.type = std::move(type);
  task.metric = "acc";
  task.shots = shots;
  task.samples = 100;
  task.prompt_tokens = prompt_tokens;
  task.shot_tokens = shot_tokens;
  task.max_output_tokens = max_output_tokens;
  return task;
}

/// Nine models (five text models that run natively, one fp32, one vision model, one image model, one of another kind),
/// six evaluation tasks, three training tasks, one benchmark, two categories.
inline Catalog small_catalog() {
  using enum Engine;
  Catalog catalog;
  catalog.models.put(small_model("llama31_8b", "llama", 8e9, 131072, DType::kBf16, {kNative, kLmEval, kCommand}));
  catalog.models.put(small_model("llama31_70b_fp8", "llama", 70.6e9, 131072, DType::kFp8, {kNative}));
  catalog.models.put(small_model("tinyllama", "llama", 1.1e9, 2048, DType::kBf16, {kNative, kLmEval}));
  catalog.models.put(small_model("falcon_40b", "falcon", 40e9, 2048, DType::kBf16, {kNative}));
  catalog.models.put(small_model("falcon_180b", "falcon", 180e9, 2048, DType::kBf16, {kNative}));
  catalog.models.put(small_model("old_fp32", "gpt", 1e9, 4096, DType::kFp32, {kLmEval}));
  Model sees = small_model("internvl2_76b", "internvl", 76e9, 8192, DType::kBf16, {kNative, kLmEval, kCommand});
  sees.kind = ModelKind::kVisionLanguage;
  sees.vision = Vision{"vit", 45, 3200, 25, 12800, 5.5e9, 256};
  catalog.models.put(sees);
  Model paints = small_model("flux_dev", "flux", 12e9, 512, DType::kBf16, {kCommand});
  paints.kind = ModelKind::kImage;
  paints.decoder.reset();
  catalog.models.put(paints);
  Model genome = small_model("evo2_40b", "evo2", 40e9, 1000000, DType::kBf16, {kCommand});
  genome.kind = ModelKind::kOther;
  genome.decoder.reset();
  catalog.models.put(genome);

  using enum TaskKind;
  catalog.tasks.put(small_task("mmlu", kMultipleChoice, "general_knowledge", "eval", 5, 100, 120, 0));
  catalog.tasks.put(small_task("gsm8k", kExactMatch, "mathematical_reasoning", "eval", 5, 100, 150, 512));
  catalog.tasks.put(small_task("mbpp", kCode, "coding", "code", 3, 150, 150, 512));
  catalog.tasks.put(small_task("bfcl", kFunctionCalling, "function_calling", "function_calling", 0, 800, 0, 512));
  catalog.tasks.put(small_task("docvqa", kVisionLanguage, "multimodal", "eval", 0, 60, 0, 64));
  catalog.tasks.put(small_task("books", kMultipleChoice, "reasoning", "eval", 0, 1500, 1500, 0));
  Task learns = small_task("sft", kTrain, "train", "instruct_text", 0, 500, 0, 0);
  learns.rows = "instruction";
  catalog.tasks.put(learns);
  Task prefers = small_task("dpo", kTrain, "train", "dpo", 0, 500, 0, 0);
  prefers.rows = "preference";
  catalog.tasks.put(prefers);
  catalog.tasks.put(small_task("style", kTrain, "train", "image", 0, 0, 0, 0));
  Task bench = small_task("resnet50", kBench, "bench", "bench", 0, 0, 0, 0);
  bench.hf_id.clear();
  bench.bench = Bench{25.6e6, 24.6e9, 256, 1.28e6};
  catalog.tasks.put(bench);

  Diagnostics diagnostics;
  Category large;
  large.name = "LARGE";
  large.models = {"llama31_70b_fp8", "falcon_40b"};
  large.tasks = {"mmlu", "gsm8k"};
  large.settings.emplace("kv_dtype", *parse_yaml("fp8", "catalog.yaml", diagnostics));
  catalog.categories.put(large);
  Category code;
  code.name = "CODE";
  code.models = {"llama31_8b"};
  code.tasks = {"mbpp"};
  catalog.categories.put(code);
  return catalog;
}

/// The matrix in `text`, called m.yaml in messages.
inline std::optional<matrix::Matrix> read(const std::string& text, const Catalog& catalog, Diagnostics& diagnostics) {
  const auto root = parse_yaml(text, "m.yaml", diagnostics);
  if (!root) return std::nullopt;
  return matrix::read_matrix(*root, "m.yaml", catalog, diagnostics);
}

/// What is wrong with the matrix in `text`, when it is read and, if that went well, expanded: `line:column: what`, in
/// order.
inline std::vector<std::string> problems(const std::string& text, const Catalog& catalog,
                                         const matrix::ExpandOptions& options = {}) {
  Diagnostics diagnostics;
  if (const auto matrix = read(text, catalog, diagnostics)) matrix::expand(*matrix, catalog, options, diagnostics);
  std::vector<std::string> lines;
  for (const Problem& problem : diagnostics.errors())
    lines.push_back(std::to_string(problem.place.line) + ":" + std::to_string(problem.place.column) + ": " +
                    problem.what);
  return lines;
}

/// The expansion of a matrix that is expected to be right.
inline matrix::Expansion expanded(const std::string& text, const Catalog& catalog,
                                  const matrix::ExpandOptions& options = {}) {
  Diagnostics diagnostics;
  const auto matrix = read(text, catalog, diagnostics);
  std::optional<matrix::Expansion> expansion;
  if (matrix) expansion = matrix::expand(*matrix, catalog, options, diagnostics);
  if (expansion) return std::move(*expansion);
  std::ostringstream shown;
  diagnostics.print(shown);
  throw std::runtime_error("the matrix has errors:\n" + shown.str());
}

}  // namespace orch::test
