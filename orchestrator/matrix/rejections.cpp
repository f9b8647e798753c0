#include "matrix/rejections.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "matrix/content.h"
#include "matrix/counts.h"

namespace orch::matrix {

void RejectionRows::add(const Pair& pair, const Reason& reason, std::int64_t count) {
  if (count == 0) return;
  Rejection row{reason.about == Reason::About::kTask || !pair.model ? "*" : pair.model->name,
                reason.about == Reason::About::kModel || !pair.task ? "*" : pair.task->name, reason.rule, reason.what,
                0};
  // What does not get a row of its own shares one with more and more of its like, so that rows are bounded.
  for (const std::size_t most : {kMostRejections, 2 * kMostRejections, std::numeric_limits<std::size_t>::max()}) {
    const std::string id = row.model + '\n' + row.task + '\n' + row.rule + '\n' + row.reason;
    auto at = index_.find(id);
    if (at == index_.end() && rows_.size() < most) {
      at = index_.emplace(id, rows_.size()).first;
      rows_.push_back(row);
    }
    if (at != index_.end()) {
      rows_[at->second].count = add_capped(rows_[at->second].count, count);
      return;
    }
    if (row.model == "*" && row.task == "*") row.reason = "for more reasons than are listed one by one";
    row.model = row.task = "*";
  }
}

std::optional<Reason> why_not_at_all(const Pair& pair, const Stage& stage, const Block& block,
                                     const Adapters& adapters) {
  if (pair.task)
    if (auto why = why_not_task(*pair.task, stage.kind)) return why;
  if (pair.model && pair.task)
    if (auto why = why_not_pair(*pair.model, *pair.task, stage.kind)) return why;
  if (has_engine(stage.kind) && !block.find("engine"))
    return choose_engine(*pair.model, *pair.task, stage.kind, !stage.command.empty()).why_none;
  if (!stage.adapter_of.empty() && adapters.made(stage, pair.m.index).empty())
    return adapters.refused(stage, pair.m.index) > 0
               ? not_trained(stage)
               : Reason{"adapter", "stage " + quote(stage.adapter_of) + " trains no adapter of it",
                        Reason::About::kModel};
  return std::nullopt;
}

Reason not_trained(const Stage& stage) {
  return {"adapter",
          "its adapter would be made by a training of stage " + quote(stage.adapter_of) + " that is rejected",
          Reason::About::kModel};
}

std::optional<Reason> why_not_full(const Settings& settings) {
  const auto dtype = settings.dtype("dtype");
  if (!settings.truth("full").value_or(false) || !dtype || bytes_of(*dtype) > 1) return std::nullopt;
  return Reason{
      "dtype",
      "all weights are to be trained, which " + std::string(name_of(*dtype)) + " is too coarse for; say dtype: bf16",
      Reason::About::kModel};
}

std::optional<Reason> why_not_learned(const Task& task, const Settings& settings) {
  if (task.type == "grpo" && !settings.has("reward"))
    return Reason{"data", "nothing says what a completion is worth; the setting `reward` names a file of rules",
                  Reason::About::kTask};
  const TrainingFiles* files = files_of(task, settings);
  if (!files || files->why_not.empty()) return std::nullopt;
  return Reason{"data", files->why_not, Reason::About::kTask};
}

namespace {

/// What the harness cannot do as asked, of those combinations that run on it.
void forbid_for_lm_eval(const Pair& pair, const Block& block, std::vector<Forbidden>& all) {
  const Axis* engines = block.find("engine");
  const SettingValue harness = std::string(name_of(Engine::kLmEval));
  if (!engines || std::ranges::find(engines->values, harness) == engines->values.end()) return;
  const auto forbid = [&](std::initializer_list<const Axis*> others, auto why) {
    Forbidden found{{engines}, {}};
    found.axes.insert(found.axes.end(), others);
    std::size_t of_one = 1;
    for (const Axis* axis : others) of_one *= axis->values.size();
    found.reasons.resize(engines->values.size() * of_one);
    bool any = false;
    for (std::size_t i = 0; i < found.reasons.size(); ++i) {
      if (engines->values[i / of_one] != harness) continue;
      found.reasons[i] = why(i % of_one);
      any = any || found.reasons[i];
    }
    if (any) all.push_back(std::move(found));
  };
  const auto format = [](const Axis& axis, std::size_t at) {
    return *dtype_named(std::get<std::string>(axis.values[at]));
  };
  const Axis *weights = block.find("dtype"), *compute = block.find("compute_dtype"), *cache = block.find("kv_dtype");
  if (const Axis* allowed = block.find("run_unsafe_code"))
    forbid({allowed},
           [&](std::size_t at) { return why_not_harness_code(*pair.task, std::get<bool>(allowed->values[at])); });
  else
    forbid({}, [&](std::size_t) { return why_not_harness_code(*pair.task, false); });
  if (const Axis* shots = block.find("shots"))
    forbid({shots}, [&](std::size_t at) {
      return why_not_harness_shots(*pair.task, std::get<std::int64_t>(shots->values[at]));
    });
  if (cache) forbid({cache}, [&](std::size_t at) { return why_not_harness_cache(format(*cache, at)); });
  if (weights && compute && !compute->follows)
    forbid({weights, compute}, [&](std::size_t at) {
      const std::size_t formats = compute->values.size();
      return why_not_harness_formats(*pair.model, format(*weights, at / formats), format(*compute, at % formats));
    });
  else if (weights)
    forbid({weights},
           [&](std::size_t at) { return why_not_harness_formats(*pair.model, format(*weights, at), std::nullopt); });
}

}  // namespace

std::vector<Forbidden> forbidden_values(const Pair& pair, const Stage& stage, const Block& block) {
  std::vector<Forbidden> all;
  if (!pair.model) return all;
  const Model& model = *pair.model;
  const auto check = [&](const char* name, auto why) {
    const Axis* axis = block.find(name);
    if (!axis) return;
    Forbidden found{{axis}, {}};
    for (std::size_t i = 0; i < axis->values.size(); ++i) {
      auto reason = why(axis->values[i]);
      if (!reason) continue;
      found.reasons.resize(axis->values.size());
      found.reasons[i] = std::move(reason);
    }
    if (!found.reasons.empty()) all.push_back(std::move(found));
  };
  const auto whole = [](const SettingValue& value) { return std::get<std::int64_t>(value); };
  const auto word = [](const SettingValue& value) -> const std::string& { return std::get<std::string>(value); };
  check("engine", [&](const SettingValue& value) {
    return why_not_engine(*engine_named(word(value)), model, *pair.task, stage.kind, !stage.command.empty());
  });
  if (stage.kind == CellKind::kCommand) return all;
  check("dtype", [&](const SettingValue& value) { return why_not_dtype(model, *dtype_named(word(value))); });
  check("shots", [&](const SettingValue& value) { return why_not_shots(model, *pair.task, whole(value)); });
  check("context", [&](const SettingValue& value) { return why_not_length(model, "context", whole(value)); });
  if (stage.kind == CellKind::kTrain)
    check("temperature",
          [&](const SettingValue& value) { return why_not_temperature(*pair.task, std::get<double>(value)); });
  check("sequence", [&](const SettingValue& value) { return why_not_length(model, "sequence", whole(value)); });
  if (stage.kind == CellKind::kEval) forbid_for_lm_eval(pair, block, all);
  return all;
}

}  // namespace orch::matrix
