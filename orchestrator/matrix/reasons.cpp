#include "matrix/reasons.h"

#include <cmath>
#include <vector>

#include "base/text.h"
#include "base/units.h"

namespace orch::matrix {
namespace {

std::string plain(std::string_view word) {
  std::string text(word);
  for (char& c : text)
    if (c == '_') c = ' ';
  return text;
}

std::string engines_text(const Model& model) {
  std::vector<std::string> names;
  for (const Engine engine : model.engines) names.emplace_back(name_of(engine));
  return names.empty() ? "no engine" : join(names, ", ");
}

/// Weights of 8 bits or fewer: already rounded once.
bool is_quantised(DType dtype) { return bytes_of(dtype) <= 1; }

}  // namespace

bool has_engine(CellKind kind) { return kind == CellKind::kEval || kind == CellKind::kTrain; }

std::optional<Reason> why_not_task(const Task& task, CellKind kind) {
  const bool fits = kind == CellKind::kCommand || (kind == CellKind::kEval && task.is_eval()) ||
                    (kind == CellKind::kTrain && task.kind == TaskKind::kTrain) ||
                    (kind == CellKind::kBench && task.kind == TaskKind::kBench);
  if (fits) return std::nullopt;
  return Reason{"kind",
                "a task of kind " + plain(name_of(task.kind)) + " is not for " + std::string(name_of(kind)) + " cells",
                Reason::About::kTask};
}

std::optional<Reason> why_not_pair(const Model& model, const Task& task, CellKind kind) {
  const bool reads = model.kind == ModelKind::kText || model.kind == ModelKind::kVisionLanguage;
  if (kind == CellKind::kEval) {
    if (!reads)
      return Reason{
          "kind",
          "a model of kind " + plain(name_of(model.kind)) + " answers no questions; cells of kind command can run it",
          Reason::About::kModel};
    if (task.needs_vision() && model.kind != ModelKind::kVisionLanguage)
      return Reason{"vision", "the questions have images, and the model sees none"};
  }
  if (kind == CellKind::kTrain) {
    if (task.type == "image" && model.kind != ModelKind::kImage)
      return Reason{"kind", "the task trains image models, and this is a model of kind " + plain(name_of(model.kind))};
    if (task.type != "image" && !reads)
      return Reason{"kind", "the task trains on text, and this is a model of kind " + plain(name_of(model.kind))};
  }
  return std::nullopt;
}

std::optional<Reason> why_not_engine(Engine engine, const Model& model, const Task& task, CellKind kind,
                                     bool has_command) {
  const std::string name(name_of(engine));
  if (!model.runs_on(engine))
    return Reason{"engine", "it runs on " + engines_text(model) + ", not on " + name, Reason::About::kModel};
  if (engine == Engine::kCommand && !has_command)
    return Reason{"engine", "the engine command needs the key `command`, which the matrix does not give",
                  Reason::About::kModel};
  if (engine == Engine::kNative && !model.decoder)
    return Reason{"engine", "the engine native needs the architecture, of which the catalog has none",
                  Reason::About::kModel};
  if (engine == Engine::kNative && kind == CellKind::kEval && task.needs_vision())
    return Reason{"engine", "the engine native shows models no images; lm-eval or command can"};
  if (engine == Engine::kNative && kind == CellKind::kEval && !task.unasked.empty())
    return Reason{"data", task.unasked + "; engine lm-eval gets data by itself", Reason::About::kTask};
  if (engine == Engine::kNative && kind == CellKind::kTrain && task.rows.empty())
    return Reason{
        "engine",
        "the catalog does not say what a row of its data is (key 'rows'), which the engine native has to know",
        Reason::About::kTask};
  if (engine == Engine::kLmEval && kind == CellKind::kTrain)
    return Reason{"engine", "the engine lm-eval does not train", Reason::About::kModel};
  if (engine == Engine::kLmEval && !task.lm_eval)
    return Reason{"engine", "the catalog names no task of lm-evaluation-harness for it (key 'lm_eval')",
                  Reason::About::kTask};
  return std::nullopt;
}

EngineChoice choose_engine(const Model& model, const Task& task, CellKind kind, bool has_command) {
  std::optional<Reason> first;
  for (const Engine engine : model.engines) {
    auto why = why_not_engine(engine, model, task, kind, has_command);
    if (!why) return {engine, {}};
    if (!first) first = std::move(why);
  }
  if (!first) first = Reason{"engine", "the catalog names no engine for it", Reason::About::kModel};
  return {std::nullopt, std::move(*first)};
}

std::optional<Reason> why_not_dtype(const Model& model, DType asked) {
  if (!is_quantised(model.dtype) || !is_quantised(asked) || asked == model.dtype) return std::nullopt;
  return Reason{"dtype",
                "it is stored in " + std::string(name_of(model.dtype)) +
                    ", and weights that were quantised once are not quantised again to " + std::string(name_of(asked)),
                Reason::About::kModel};
}

std::optional<Reason> why_not_temperature(const Task& task, double temperature) {
  if (task.type != "grpo" || temperature > 0) return std::nullopt;
  return Reason{
      "temperature",
      "it compares completions of a prompt, and at a temperature of 0 they are all the same; say `temperature: "
      "1` in the training's own settings",
      Reason::About::kTask};
}

std::optional<Reason> why_not_shots(const Model& model, const Task& task, std::int64_t shots) {
  double tokens = task.prompt_tokens + static_cast<double>(shots) * task.shot_tokens;
  if (model.vision) tokens += task.images * model.vision->tokens_per_image;
  tokens = std::ceil(tokens);
  if (model.context <= 0 || !(tokens > static_cast<double>(model.context))) return std::nullopt;
  return Reason{"context", "with " + counted(shots, "shot") + " a prompt has about " +
                               grouped(static_cast<long long>(std::min(tokens, 1e15))) +
                               " tokens, and the model's context is " + grouped(model.context)};
}

std::optional<Reason> why_not_length(const Model& model, std::string_view what, std::int64_t tokens) {
  if (model.context <= 0 || tokens <= model.context) return std::nullopt;
  return Reason{
      "context",
      std::string(what) + " is " + grouped(tokens) + " tokens, and the model's context is " + grouped(model.context),
      Reason::About::kModel};
}

std::optional<Reason> why_not_harness_shots(const Task& task, std::int64_t shots) {
  if (!task.lm_eval || !task.lm_eval->most_shots || shots <= *task.lm_eval->most_shots) return std::nullopt;
  return Reason{
      "engine",
      quote(task.lm_eval->name) + " of lm-evaluation-harness has " +
          (*task.lm_eval->most_shots == 0 ? "no worked examples"
                                          : "at most " + counted(*task.lm_eval->most_shots, "worked example")) +
          ", and " + std::to_string(shots) + " are asked for",
      Reason::About::kTask};
}

std::optional<Reason> why_not_harness_formats(const Model& model, DType weights, std::optional<DType> compute) {
  const auto about_model = [](std::string what) { return Reason{"engine", std::move(what), Reason::About::kModel}; };
  if (is_quantised(weights) && weights != model.dtype)
    return about_model("the engine lm-eval does not quantise weights to " + std::string(name_of(weights)));
  if (!compute) return std::nullopt;
  if (*compute == DType::kFp8) return about_model("the engine lm-eval does not compute in fp8");
  if (!is_quantised(weights) && *compute != weights)
    return about_model("the engine lm-eval computes in the format of the weights, " + std::string(name_of(weights)) +
                       ", not in " + std::string(name_of(*compute)));
  return std::nullopt;
}

std::optional<Reason> why_not_harness_cache(DType cache) {
  if (!is_quantised(cache)) return std::nullopt;
  return Reason{
      "engine",
      "the engine lm-eval keeps its cache in the format of computation, not in " + std::string(name_of(cache)),
      Reason::About::kModel};
}

std::optional<Reason> why_not_harness_code(const Task& task, bool allowed) {
  if (task.kind != TaskKind::kCode || allowed) return std::nullopt;
  return Reason{std::string(kCodeRule),
                "scoring it runs the programs that the model writes, as your account, and nothing of ours confines "
                "them; the setting `run_unsafe_code: true` allows it",
                Reason::About::kTask};
}

std::optional<Reason> why_not_shape(const Settings& settings) {
  const auto part = settings.number("gpus");
  if (part && *part < 1 && settings.integer("nodes").value_or(1) > 1)
    return Reason{"layout", std::string(*part > 0 ? "a part of a GPU" : "a program without a GPU") + " is on one node",
                  Reason::About::kTask};
  const auto gpus = settings.integer("gpus"), nodes = settings.integer("nodes");
  if (!gpus || !nodes || *nodes < 1 || *gpus % *nodes == 0) return std::nullopt;
  return Reason{"layout", counted(*gpus, "GPU") + " cannot be shared evenly by " + counted(*nodes, "node"),
                Reason::About::kTask};
}

}  // namespace orch::matrix
