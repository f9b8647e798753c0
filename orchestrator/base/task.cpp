#include "base/task.h"

#include <algorithm>
#include <cmath>

#include "base/fields.h"
#include "base/text.h"

namespace orch {
namespace {

constexpr double kMostTokens = 1e8;
constexpr double kMostSamples = 1e12;

/// What the policy weighs a task as that does not say it itself.
std::string default_type(TaskKind kind) {
  switch (kind) {
    case TaskKind::kMultipleChoice:
    case TaskKind::kExactMatch:
      return "eval";
    case TaskKind::kCode:
    case TaskKind::kFunctionCalling:
    case TaskKind::kVisionLanguage:
    case TaskKind::kBench:
      return std::string(name_of(kind));
    case TaskKind::kTrain:
      break;
  }
  return "";
}

Bench read_bench(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'bench' map", diagnostics);
  Bench bench;
  for (std::string_view key : {"params", "flops_per_sample", "batch_per_gpu", "samples"}) fields.require(key);
  bench.params = fields.count("params", 1, 1e15).value_or(1);
  bench.flops_per_sample = fields.count("flops_per_sample", 1, 1e24).value_or(1);
  bench.batch_per_gpu = static_cast<int>(fields.whole("batch_per_gpu", 1, 1'000'000).value_or(1));
  bench.samples = fields.count("samples", 1, kMostSamples).value_or(1);
  fields.finish();
  return bench;
}

std::optional<LmEvalTask> read_lm_eval(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  LmEvalTask task;
  if (!node.is_map()) {
    if (!node.is_scalar() || !is_name(node.text)) {
      diagnostics.error(place_of(node, file),
                        "'lm_eval' must be the name of a task of lm-evaluation-harness, or a map with it as 'task'; "
                        "found " +
                            describe(node));
      return std::nullopt;
    }
    task.name = node.text;
    return task;
  }
  Fields fields(node, file, "a 'lm_eval' map", diagnostics);
  fields.require("task");
  const auto name = fields.name("task");
  if (const auto most = fields.whole("most_shots", 0, 100)) task.most_shots = static_cast<int>(*most);
  fields.finish();
  if (!name) return std::nullopt;
  task.name = *name;
  return task;
}

bool generates(TaskKind kind) {
  return kind == TaskKind::kExactMatch || kind == TaskKind::kCode || kind == TaskKind::kFunctionCalling;
}

}  // namespace

std::string_view name_of(TaskKind kind) {
  switch (kind) {
    case TaskKind::kMultipleChoice:
      return "multiple_choice";
    case TaskKind::kExactMatch:
      return "exact_match";
    case TaskKind::kCode:
      return "code";
    case TaskKind::kFunctionCalling:
      return "function_calling";
    case TaskKind::kVisionLanguage:
      return "vision_language";
    case TaskKind::kTrain:
      return "train";
    case TaskKind::kBench:
      return "bench";
  }
  return "";
}

const TrainingFiles* Task::files_of(std::string_view data, std::string_view reward) const {
  const auto found = files.find({std::string(data), std::string(reward)});
  return found == files.end() ? nullptr : &found->second;
}

Task read_task(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "the task " + quote(name), diagnostics);
  Task task;
  task.name = name;
  task.source = place_of(node, file);
  fields.require("kind");
  const auto kind = fields.choice<TaskKind>("kind", {{"multiple_choice", TaskKind::kMultipleChoice},
                                                     {"exact_match", TaskKind::kExactMatch},
                                                     {"code", TaskKind::kCode},
                                                     {"function_calling", TaskKind::kFunctionCalling},
                                                     {"vision_language", TaskKind::kVisionLanguage},
                                                     {"train", TaskKind::kTrain},
                                                     {"bench", TaskKind::kBench}});
  task.kind = kind.value_or(TaskKind::kMultipleChoice);
  task.group = fields.name("group").value_or("");
  task.type = fields.name("type").value_or(default_type(task.kind));
  task.hf_id = fields.name("hf_id").value_or("");
  task.subset = fields.text("subset").value_or("");
  task.revision = fields.name("revision").value_or("main");
  task.gated = fields.truth("gated").value_or(false);
  task.metric = fields.name("metric").value_or("");
  task.shots = static_cast<int>(fields.whole("shots", 0, 1000).value_or(0));
  task.samples = fields.count("samples", 0, kMostSamples).value_or(0);
  task.prompt_tokens = fields.count("prompt_tokens", 0, kMostTokens).value_or(0);
  task.shot_tokens = fields.count("shot_tokens", 0, kMostTokens).value_or(0);
  task.choices = fields.count("choices", 1, 1e6).value_or(1);
  task.choice_tokens = fields.count("choice_tokens", 0, kMostTokens).value_or(1);
  task.output_tokens = fields.count("output_tokens", 0, kMostTokens).value_or(0);
  const auto most_output = fields.whole("max_output_tokens", 0, static_cast<std::int64_t>(kMostTokens));
  task.max_output_tokens = static_cast<int>(most_output.value_or(0));
  task.repeats = static_cast<int>(fields.whole("repeats", 1, 1'000'000).value_or(1));
  task.images = fields.count("images", 0, 1e6).value_or(0);
  if (const Yaml* bench = fields.get("bench")) task.bench = read_bench(*bench, file, diagnostics);
  if (const Yaml* lm_eval = fields.get("lm_eval")) task.lm_eval = read_lm_eval(*lm_eval, file, diagnostics);
  task.rows =
      fields
          .choice<std::string>(
              "rows",
              {{"text", "text"}, {"instruction", "instruction"}, {"preference", "preference"}, {"prompt", "prompt"}})
          .value_or("");
  task.notes = fields.text("notes").value_or("");

  if (kind && fields.is_map()) {
    const std::string which = "a task of 'kind: " + std::string(name_of(*kind)) + "'";
    const auto needs = [&](std::string_view key, bool wanted) {
      if (wanted && !fields.has(key)) fields.error(key, which + " needs the key " + quote(key));
    };
    needs("hf_id", task.is_eval());
    needs("metric", task.is_eval());
    needs("samples", task.is_eval());
    needs("prompt_tokens", task.is_eval());
    needs("output_tokens", generates(*kind));
    needs("type", *kind == TaskKind::kTrain);
    needs("bench", *kind == TaskKind::kBench);
    if (task.is_eval() && fields.has("samples") && task.samples < 1)
      fields.error("samples", "an evaluation needs at least 1 sample");
    if (task.bench && *kind != TaskKind::kBench) fields.error("bench", "'bench' goes only with 'kind: bench'");
    if (fields.has("rows") && *kind != TaskKind::kTrain) fields.error("rows", "'rows' goes only with 'kind: train'");
    if (task.lm_eval && !task.is_eval()) fields.error("lm_eval", "'lm_eval' goes only with a kind of evaluation");
  }
  if (most_output && task.max_output_tokens < task.output_tokens)
    fields.error("max_output_tokens", "'max_output_tokens' must be at least 'output_tokens', the mean of an answer");
  // Generation that states no limit is cut well past the mean, so that few answers lose their end.
  if (!most_output) task.max_output_tokens = static_cast<int>(std::min(kMostTokens, std::ceil(4 * task.output_tokens)));
  fields.finish();
  return task;
}

}  // namespace orch
