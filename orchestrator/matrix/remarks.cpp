#include "matrix/remarks.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "matrix/command.h"
#include "matrix/content.h"

namespace orch::matrix {
namespace {

std::int64_t whole(const SettingValue& value) { return std::get<std::int64_t>(value); }

SettingValue command_engine() { return std::string(name_of(Engine::kCommand)); }

class Collector {
 public:
  Collector(const Pair& pair, const StageFacts& facts, const Block& block)
      : pair_(pair), facts_(facts), block_(block) {}

  /// Says `line` of those values of a setting that the matrix says and `holds` is true of.
  template <class Holds>
  void each(const char* name, const std::string& line, Holds holds) {
    const Axis* axis = block_.find(name);
    if (!axis || !axis->said) return;
    Remark remark{axis, std::vector<bool>(axis->values.size()), line};
    bool any = false;
    for (std::size_t i = 0; i < axis->values.size(); ++i) {
      remark.about[i] = holds(axis->values[i]);
      any = any || remark.about[i];
    }
    if (any) found_.push_back(std::move(remark));
  }

  void of_evaluation() {
    const Task& task = *pair_.task;
    const std::string of_task = note_head("*", task.name);
    if (task.kind == TaskKind::kMultipleChoice) {
      const std::string idle = " changes nothing: the task scores the choices that it gives, and generates no text";
      each("max_tokens", of_task + "max_tokens" + idle, [](const SettingValue&) { return true; });
      each("temperature", of_task + "temperature" + idle,
           [](const SettingValue& value) { return value != SettingValue(0.0); });
    } else if (!block_.find("context")) {
      of_long_answers();
    }
    if (!(task.samples > 0 && task.samples < 1e15)) return;
    const auto samples = static_cast<long long>(task.samples);
    each("limit", of_task + "a limit over " + grouped(samples) + " takes all: the task has no more samples",
         [&](const SettingValue& value) { return whole(value) > samples; });
  }

  void of_training() {
    const Task& task = *pair_.task;
    const auto all = [](const SettingValue&) { return true; };
    const auto only_for = [&](const char* name, std::initializer_list<std::string_view> types, const char* words) {
      if (std::ranges::find(types, task.type) != types.end()) return;
      each(
          name,
          note_head("*", task.name) + name + " means nothing for a training of type " + shown(task.type) + "; " + words,
          all);
    };
    only_for("beta", {"dpo", "grpo"}, "dpo and grpo have it");
    for (const char* name : {"loss", "label_smoothing"}) only_for(name, {"dpo"}, "dpo has it");
    for (const char* name : {"group_size", "reward", "aggregation", "epsilon", "epsilon_high", "delta", "scale_rewards",
                             "iterations", "steps_per_generation", "top_p", "top_k"})
      only_for(name, {"grpo"}, "grpo has it");
    // These are not even settings of the cell (lay_axes).
    for (const char* name : {"max_tokens", "temperature"})
      if (task.type != "grpo" && says(name))
        found_.push_back({nullptr,
                          {},
                          note_head("*", task.name) + name + " means nothing for a training of type " +
                              shown(task.type) + "; grpo has it"});
    if (const Axis* loss = block_.find("loss");
        task.type == "dpo" &&
        (!loss || std::ranges::find(loss->values, SettingValue(std::string("robust"))) == loss->values.end()))
      each("label_smoothing", note_head("*", task.name) + "label_smoothing means nothing for a loss other than robust",
           [](const SettingValue& value) { return value != SettingValue(0.0); });
    if (const Axis* held_out = block_.find("held_out");
        held_out && std::ranges::all_of(held_out->values, [](const SettingValue& value) { return whole(value) == 0; }))
      each("evaluate_every", note_head("*", task.name) + "evaluate_every means nothing where no row is held out", all);
    if (task.type != "image") return;
    each("sequence",
         note_head("*", task.name) + "sequence means nothing for a training on images, which have no tokens", all);
    each("group_by_length",
         note_head("*", task.name) + "group_by_length means nothing for a training on images, which have no tokens",
         all);
  }

  /// Of cells that run the stage's command, which is told of nothing but its placeholders.
  void of_command() {
    const CellKind kind = facts_.stage.kind;
    const Picks& picks = facts_.picks;
    const Axis* engines = block_.find("engine");
    std::vector<bool> about;
    if (has_engine(kind)) {
      if (!engines) return;
      for (const SettingValue& value : engines->values) about.push_back(value == command_engine());
      if (std::ranges::find(about, true) == about.end()) return;
    }
    const auto add = [&](std::string line) { found_.push_back({about.empty() ? nullptr : engines, about, line}); };
    const auto says = [&](const std::string& name) { return facts_.named.contains(name); };
    const std::string head = facts_.words + ": the command does not name ";
    const auto alike = [](std::size_t count, std::string_view what) {
      return ", so that the same program runs for each of " + std::to_string(count) + " " + std::string(what);
    };
    if (picks.models.size() > 1 && !says("model") && !says("hf_id") && !says("adapter"))
      add(head + "{model} or {hf_id}" + alike(picks.models.size(), "models"));
    if (picks.tasks.size() > 1 && !says("task")) add(head + "{task}" + alike(picks.tasks.size(), "tasks"));
    if (!facts_.stage.adapter_of.empty() && !says("adapter"))
      add(head + "{adapter}, so that the program is not told which adapter is meant");
    // What takes effect without the program's doing.
    constexpr std::array<std::string_view, 2> kTaken = {"engine", "container"};
    for (const Axis& axis : block_.axes) {
      // The program is told of every setting that is the matrix's own.
      const SettingDef* def = find_setting(axis.name);
      if (!axis.said || !def || is_own(axis.name, kind) || !in_key(*def, kind)) continue;
      if (std::ranges::find(kTaken, axis.name) != kTaken.end()) continue;
      if (says("settings." + axis.name) || says(axis.name)) continue;
      const std::string placeholder = "{" + axis.name + "}";
      if (axis.values.size() > 1)
        add(head + placeholder + alike(axis.values.size(), "values"));
      else if (!is_off(axis.name, axis.values.front(), kind))
        add(head + placeholder + ", so that the program is not told of it");
    }
  }

  std::vector<Remark> take() { return std::move(found_); }

 private:
  bool says(const std::string& name) const {
    return facts_.stage.settings.contains(name) || pair_.m.own.contains(name) || pair_.t.own.contains(name);
  }

  /// Answers that the model's context has no room for.
  void of_long_answers() {
    const Model& model = *pair_.model;
    const Task& task = *pair_.task;
    if (model.context <= 0) return;
    const std::string end =
        " is longer than an answer can be: the model's context has " + grouped(model.context) + " tokens";
    each("max_tokens", note_head(model.name, "*") + "max_tokens over " + grouped(model.context) + end,
         [&](const SettingValue& value) { return whole(value) > model.context; });
    std::int64_t shots = task.shots;
    if (const Axis* axis = block_.find("shots")) {
      shots = whole(axis->values.front());
      for (const SettingValue& value : axis->values) shots = std::min(shots, whole(value));
    }
    const double prompt = std::ceil(task.prompt_tokens + static_cast<double>(shots) * task.shot_tokens);
    if (!(prompt > 0 && prompt < static_cast<double>(model.context))) return;
    const std::int64_t room = model.context - static_cast<std::int64_t>(prompt);
    each("max_tokens",
         note_head(model.name, task.name) + "max_tokens over " + grouped(room) + end + ", and a prompt about " +
             grouped(static_cast<long long>(prompt)),
         [&](const SettingValue& value) { return whole(value) > room && whole(value) <= model.context; });
  }

  const Pair& pair_;
  const StageFacts& facts_;
  const Block& block_;
  std::vector<Remark> found_;
};

}  // namespace

std::vector<Remark> remarks_on(const Pair& pair, const StageFacts& facts, const Block& block) {
  Collector collector(pair, facts, block);
  const CellKind kind = facts.stage.kind;
  const Axis* engines = block.find("engine");
  // A program of the user's may do with a setting what it likes.
  const bool by_us = has_engine(kind) && engines && std::ranges::any_of(engines->values, [](const SettingValue& value) {
                       return value != command_engine();
                     });
  if (by_us && kind == CellKind::kEval) collector.of_evaluation();
  if (by_us && kind == CellKind::kTrain) collector.of_training();
  if (!facts.stage.command.empty()) collector.of_command();
  return collector.take();
}

}  // namespace orch::matrix
