// Why a model and a task cannot go together, or not with a setting: each reason is a sentence, each has its rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "matrix/matrix.h"

namespace orch::matrix {

/// A rule, and how a combination breaks it. Whose fault it is says where it is counted.
struct Reason {
  enum class About { kModel, kTask, kBoth };
  std::string rule;
  std::string what;
  About about = About::kBoth;
};

/// Whether cells of the kind may run on one engine or another: they have the setting `engine`.
bool has_engine(CellKind kind);

/// The task is of another kind than the cells of the stage.
std::optional<Reason> why_not_task(const Task& task, CellKind kind);

/// The model cannot do the task, whatever the settings. Without a task: what it can never do in cells of that kind.
std::optional<Reason> why_not_pair(const Model& model, const Task& task, CellKind kind);

/// The engine cannot run the model, or not do the task with it. `has_command`: the stage says what to run.
std::optional<Reason> why_not_engine(Engine engine, const Model& model, const Task& task, CellKind kind,
                                     bool has_command);

/// The first of the model's engines that can do the task, or why none can.
struct EngineChoice {
  std::optional<Engine> engine;
  Reason why_none;
};
EngineChoice choose_engine(const Model& model, const Task& task, CellKind kind, bool has_command);

/// Weights as stored that cannot be had in `asked`.
std::optional<Reason> why_not_dtype(const Model& model, DType asked);

/// A training that compares what it writes, and would write the same each time.
std::optional<Reason> why_not_temperature(const Task& task, double temperature);

/// Prompts with so many worked examples that the model's context does not hold them.
std::optional<Reason> why_not_shots(const Model& model, const Task& task, std::int64_t shots);

/// A context longer than the model's; `what` names the setting.
std::optional<Reason> why_not_length(const Model& model, std::string_view what, std::int64_t tokens);

/// What lm-evaluation-harness cannot do as asked, and would not say: more worked examples than its task has, weights
/// that are quantised as they are loaded, computation in another format than the weights', a quantised cache. No
/// `compute`: it follows the weights.
std::optional<Reason> why_not_harness_shots(const Task& task, std::int64_t shots);
std::optional<Reason> why_not_harness_formats(const Model& model, DType weights, std::optional<DType> compute);
std::optional<Reason> why_not_harness_cache(DType cache);

inline constexpr std::string_view kCodeRule = "code";

/// A task whose scoring runs what the model writes, without the consent that the harness asks for.
std::optional<Reason> why_not_harness_code(const Task& task, bool allowed);

/// GPUs that the nodes cannot share evenly, or too few for several nodes.
std::optional<Reason> why_not_shape(const Settings& settings);

}  // namespace orch::matrix
