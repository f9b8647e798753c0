// What a cell needs, from its settings, its task and its model.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/units.h"
#include "planner/sizer.h"

namespace orch::planner {
namespace {

// The longest question is reckoned at twice the mean one.
constexpr double kLongestOverMean = 2;
// Needs are rounded up to one of these, so that tasks of different length and shots share a load.
constexpr std::array<std::int64_t, 9> kTokenBuckets = {4096,   8192,   16384,   32768,   65536,
                                                       131072, 262144, 1048576, 10485760};
constexpr double kBytesPerToken = 4;  // of a text that goes before every prompt
/// A parameter of a benchmark: bf16 weight and gradient, fp32 master, two states; a fifth for the rest.
constexpr double kBenchBytes = 16 * 1.2;

std::int64_t bucket(std::int64_t tokens, std::int64_t context) {
  const auto at = std::lower_bound(kTokenBuckets.begin(), kTokenBuckets.end(), tokens);
  const std::int64_t rounded = at == kTokenBuckets.end() ? kTokenBuckets.back() : *at;
  return context > 0 ? std::min(rounded, context) : rounded;
}

std::int64_t longest_sequence(const Task& task, const Model& model, const matrix::Settings& settings) {
  const double shots = static_cast<double>(settings.integer("shots").value_or(task.shots));
  double tokens = kLongestOverMean * std::max(0.0, task.prompt_tokens) + std::max(0.0, shots * task.shot_tokens);
  if (model.vision) tokens += kLongestOverMean * std::max(0.0, task.images) * model.vision->tokens_per_image;
  if (const auto prefix = settings.text("prefix")) tokens += static_cast<double>(prefix->size()) / kBytesPerToken;
  if (task.kind == TaskKind::kMultipleChoice)
    tokens += kLongestOverMean * std::max(1.0, task.choice_tokens);
  else
    tokens += static_cast<double>(settings.integer("max_tokens")
                                      .value_or(task.max_output_tokens > 0
                                                    ? task.max_output_tokens
                                                    : real_to_int(kLongestOverMean * task.output_tokens)));
  std::int64_t whole = real_to_int(std::ceil(tokens));
  if (const auto context = settings.integer("context"); context && *context > 0) whole = std::min(whole, *context);
  return std::max<std::int64_t>(1, whole);
}

}  // namespace

Need need_of(const matrix::Cell& cell, const matrix::Expansion& expansion, const Catalog& catalog) {
  Need need;
  need.kind = cell.kind;
  need.model = cell.model;
  const Model* model = cell.model < catalog.models.size() ? &catalog.models[cell.model] : nullptr;
  const Task* task = cell.task < catalog.tasks.size() ? &catalog.tasks[cell.task] : nullptr;
  static const matrix::Settings kNoSettings;
  const matrix::Settings& settings =
      cell.settings < expansion.settings.size() ? expansion.settings[cell.settings] : kNoSettings;

  if (model) {
    need.engine = model->engines.empty() ? Engine::kNative : model->engines.front();
    need.dtype = model->dtype == DType::kFp32 ? DType::kBf16 : model->dtype;
  }
  const bool own_program = cell.kind == matrix::CellKind::kCommand;
  if (const auto name = settings.text("engine"); name && !own_program)
    if (const auto engine = engine_named(*name)) need.engine = *engine;
  // What the stage's command runs is its own program.
  if (need.engine == Engine::kCommand || own_program) need.command_stage = cell.stage;
  if (need.engine == Engine::kCommand || cell.kind == matrix::CellKind::kCommand)
    need.container = settings.text("container").value_or(expansion.container.value_or(""));
  need.dtype = settings.dtype("dtype").value_or(need.dtype);
  need.compute = bytes_of(need.dtype) < 2 ? DType::kBf16 : need.dtype;
  if (!own_program) {
    need.compute = settings.dtype("compute_dtype").value_or(need.compute);
    need.kv = settings.dtype("kv_dtype").value_or(DType::kBf16);
  }

  const auto gpus = static_cast<int>(std::clamp<std::int64_t>(settings.integer("gpus").value_or(0), 0, 1 << 20));
  const auto nodes = static_cast<int>(std::clamp<std::int64_t>(settings.integer("nodes").value_or(0), 0, 1 << 20));
  switch (cell.kind) {
    case matrix::CellKind::kEval:
      need.batch = std::max<std::int64_t>(0, settings.integer("batch").value_or(0));
      if (settings.has("tensor") || settings.has("pipeline")) {
        need.tensor = static_cast<int>(settings.integer("tensor").value_or(1));
        need.pipeline = static_cast<int>(settings.integer("pipeline").value_or(1));
        need.gpus = need.tensor * need.pipeline;
      }
      if (model && model->decoder && task)
        need.tokens = bucket(longest_sequence(*task, *model, settings), model->context);
      if (cell.depends < expansion.cells.size()) {
        const std::uint32_t trained = expansion.cells[cell.depends].settings;
        const matrix::Settings& training =
            trained < expansion.settings.size() ? expansion.settings[trained] : kNoSettings;
        if (training.truth("full").value_or(false))
          need.weights_of = cell.depends;
        else
          need.rank = std::max<std::int64_t>(0, training.integer("rank").value_or(0));
      }
      break;
    case matrix::CellKind::kTrain:
      need.full = settings.truth("full").value_or(false);
      need.rank = need.full ? 0 : std::max<std::int64_t>(0, settings.integer("rank").value_or(16));
      need.sequence =
          model && model->decoder ? std::max<std::int64_t>(1, settings.integer("sequence").value_or(2048)) : 0;
      need.micro_batch = std::max<std::int64_t>(0, settings.integer("micro_batch").value_or(0));
      need.global_batch = std::clamp<std::int64_t>(settings.integer("batch_size").value_or(1), 1, 1 << 20) *
                          std::clamp<std::int64_t>(settings.integer("accumulation").value_or(1), 1, 1 << 20);
      need.reference = task && (task->type == "dpo" || task->type == "grpo");
      need.ema = settings.number("ema_decay").value_or(0) > 0;
      need.tensor = static_cast<int>(settings.integer("tensor").value_or(0));
      need.checkpointing = settings.truth("checkpointing");
      break;
    case matrix::CellKind::kBench:
      need.gpus = std::max(1, gpus);
      need.nodes = nodes;
      if (task && task->bench)
        need.gpu_memory = real_to_int(std::ceil(task->bench->params * kBenchBytes / kGiB) * kGiB);
      break;
    case matrix::CellKind::kCommand:
      need.nodes = nodes;
      need.cpus = static_cast<int>(std::clamp<std::int64_t>(settings.integer("cpus").value_or(0), 0, 1 << 20));
      need.memory = std::max<std::int64_t>(0, settings.integer("memory").value_or(0));
      // Nothing is known of a name of the matrix's own, so nothing is loaded for it.
      if (model && model->own) need.model = matrix::kNone;
      if (const auto part = settings.number("gpus"); part && *part < 1) {
        need.no_gpu = !(*part > 0);
        if (need.no_gpu) break;
        need.gpus = 1;
        need.gpu_parts = std::clamp(static_cast<int>(std::ceil(kShareParts * *part - 1e-9)), 1, kShareParts);
      } else {
        need.gpus = gpus > 0 || need.model != matrix::kNone ? gpus : 1;
      }
      need.gpu_memory = std::max<std::int64_t>(0, settings.integer("gpu_memory").value_or(0));
      break;
  }
  return need;
}

}  // namespace orch::planner
