#include "matrix/stage_reader.h"

#include <algorithm>
#include <array>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"
#include "matrix/command.h"

namespace orch::matrix {
namespace {

constexpr long long kMostExclusions = 5000;     // in one list
constexpr std::size_t kMostValues = 1'000'000;  // read for all stages together, what they inherit counted for each

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

bool fits_kind(const Task& task, CellKind kind) {
  switch (kind) {
    case CellKind::kEval:
      return task.is_eval();
    case CellKind::kTrain:
      return task.kind == TaskKind::kTrain;
    case CellKind::kBench:
      return task.kind == TaskKind::kBench;
    case CellKind::kCommand:
      return true;
  }
  return false;
}

std::size_t values_in(const Yaml& node) {
  std::size_t count = 1;
  for (const Yaml& item : node.items) count += values_in(item);
  for (const Yaml::Entry& entry : node.entries) count += values_in(entry.value);
  return count;
}

void keep_taken(Axes& axes, CellKind kind) {
  std::erase_if(axes, [&](const auto& axis) { return !takes(*find_setting(axis.first), kind); });
}

/// Whether every cell of the stage surely or possibly has the setting.
bool is_given(const std::string& name, const Stage& stage) {
  const auto sets = [&](const Selector& selector) { return selector.settings.contains(name); };
  return name == "seed" || name == "gpus" || stage.settings.contains(name) || std::ranges::any_of(stage.models, sets) ||
         std::ranges::any_of(stage.tasks, sets) || !stage.categories.empty();
}

}  // namespace

Section inherit(const Yaml& node, const Yaml& outer, const char* key) {
  if (const Yaml* own = node.find(key)) return {own, false};
  return {outer.find(key), true};
}

/// Whether what is read stays within bounds: a small file could make each of many stages inherit a large list.
bool StageReader::affordable(const Yaml& node) {
  if (values_read_ > kMostValues) return false;  // said once is enough
  values_read_ += values_in(node);
  if (values_read_ <= kMostValues) return true;
  error(node,
        "the stages have more than " + grouped(kMostValues) + " values together, what they inherit counted for each");
  return false;
}

/// What an inherited value is checked against: the kinds of all stages, as each takes from it what it can.
std::vector<CellKind> StageReader::kinds_for(const Section& section, CellKind own) const {
  if (!section.inherited) return {own};
  std::vector<CellKind> kinds;
  for (const CellKind kind : kCellKinds)
    if (std::ranges::find(kinds_, kind) != kinds_.end()) kinds.push_back(kind);
  return kinds;
}

Stage StageReader::read(const std::string& name, const Yaml& node, const Yaml* outer, CellKind kind) {
  Stage stage;
  stage.name = name;
  stage.kind = kind;
  if (outer) check_keys(node);
  const auto section = [&](const char* key) {
    const Section found = outer ? inherit(node, *outer, key) : Section{node.find(key), false};
    if (found.node) stage.places[key] = place_of(*found.node, file_);
    return found;
  };
  if (outer) read_links(node, stage);
  read_settings(node, outer, stage);
  stage.tasks = read_selectors(section("tasks"), Picked::kTasks, kind);
  if (kind != CellKind::kBench) {
    stage.models = read_selectors(section("models"), Picked::kModels, kind);
    if (const Section found = section("categories"); found.node) read_categories(*found.node, stage);
  }
  if (outer)
    if (const Yaml* exclude = outer->find("exclude")) read_exclude({exclude, true}, stage);
  if (const Yaml* exclude = node.find("exclude")) read_exclude({exclude, false}, stage);
  if (const Section found = section("command"); found.node) read_command(found, stage);
  check_stage(node, outer, stage);
  return stage;
}

void StageReader::check_keys(const Yaml& node) {
  Fields fields(node, file_, "a stage", diagnostics_);
  for (const char* key :
       {"kind", "models", "tasks", "categories", "exclude", "settings", "command", "adapter", "after"})
    fields.get(key);
  fields.finish();
}

void StageReader::read_links(const Yaml& node, Stage& stage) {
  Fields fields(node, file_, "a stage", diagnostics_);
  if (!node.is_map()) return;
  if (const Yaml* adapter = fields.get("adapter")) {
    stage.places["adapter"] = place_of(*adapter, file_);
    stage.adapter_of = fields.text("adapter").value_or("");
    if (stage.adapter_of.empty() && adapter->is_scalar())
      error(*adapter, "'adapter' must name the train stage whose adapters are used");
    if (stage.kind != CellKind::kEval && stage.kind != CellKind::kCommand)
      error(*adapter, "only eval and command stages take an adapter, and this one is of kind " +
                          std::string(name_of(stage.kind)));
  }
  if (const Yaml* after = fields.get("after")) {
    stage.places["after"] = place_of(*after, file_);
    stage.after = fields.texts("after").value_or(std::vector<std::string>());
  }
}

void StageReader::read_settings(const Yaml& node, const Yaml* outer, Stage& stage) {
  const auto add = [&](const Yaml& from, const Section& section) {
    const Yaml* settings = from.find("settings");
    if (!settings || !affordable(*settings)) return;
    stage.places["settings"] = place_of(*settings, file_);
    Axes axes = read_axes(*settings, kinds_for(section, stage.kind), file_, diagnostics_);
    keep_taken(axes, stage.kind);
    if (auto why = why_not_lengths(axes)) error(*settings, std::move(*why));
    // The two are one choice: a stage that says steps drops the epochs it would inherit.
    if (axes.contains("steps")) stage.settings.erase("epochs");
    if (axes.contains("epochs")) stage.settings.erase("steps");
    for (auto& [name, values] : axes) stage.settings[name] = std::move(values);
    for (const Yaml::Entry& entry : settings->entries)
      stage.places["settings." + entry.key] = {file_, entry.line, entry.column};
  };
  if (outer) add(*outer, {nullptr, true});
  add(node, {nullptr, false});
}

std::vector<Selector> StageReader::read_selectors(const Section& section, Picked what, CellKind kind) {
  if (!section.node || !affordable(*section.node)) return {};
  const auto kinds = kinds_for(section, kind);
  auto selectors = SelectorReader(what, kinds, file_, catalog_, diagnostics_).read_list(*section.node);
  for (Selector& selector : selectors) {
    keep_taken(selector.settings, kind);
    if (what == Picked::kModels || !selector.is_exact()) continue;
    const Task* task = catalog_.tasks.find(*selector.name);
    if (!task || fits_kind(*task, kind)) continue;
    diagnostics_.error(selector.place, "task " + quote(task->name) + " is of kind " + std::string(name_of(task->kind)) +
                                           ", which no " + std::string(name_of(kind)) +
                                           " cell can do; the kind of cell for it is " +
                                           (task->is_eval() ? "eval" : std::string(name_of(task->kind))));
  }
  return selectors;
}

void StageReader::read_categories(const Yaml& node, Stage& stage) {
  const std::vector<Yaml> single = {node};
  if (!node.is_scalar() && !node.is_list()) {
    error(node, "categories must be a list of names, found " + describe(node));
    return;
  }
  if (node.is_list() && node.items.empty()) error(node, "an empty list of categories makes no cells: name some");
  const auto known = catalog_.categories.names();
  for (const Yaml& item : node.is_list() ? node.items : single) {
    if (!item.is_scalar())
      error(item, "the name of a category must be a text, found " + describe(item));
    else if (!holds(known, item.text))
      error(item, "no category " + quote(item.text) + hint(item.text, known));
    else if (holds(stage.categories, item.text))
      error(item, "category " + quote(item.text) + " is named twice");
    else
      stage.categories.push_back(item.text);
  }
}

void StageReader::read_exclude(const Section& section, Stage& stage) {
  const Yaml& node = *section.node;
  if (!affordable(node)) return;
  if (static_cast<long long>(node.items.size()) > kMostExclusions) {
    error(node, "at most " + grouped(kMostExclusions) + " exclusions, found " +
                    grouped(static_cast<long long>(node.items.size())));
    return;
  }
  if (!node.is_list()) {
    error(node, "exclude must be a list of maps such as {model: NAME, task: NAME}; found " + describe(node));
    return;
  }
  const auto kinds = kinds_for(section, stage.kind);
  for (const Yaml& item : node.items) read_exclusion(item, kinds, stage);
}

void StageReader::read_exclusion(const Yaml& item, std::span<const CellKind> kinds, Stage& stage) {
  const std::size_t before = diagnostics_.error_count();
  const std::vector<std::string> parts = {"model", "task"};
  Exclusion exclusion;
  exclusion.place = place_of(item, file_);
  if (!item.is_map() || item.entries.empty()) {
    error(item, "what is excluded must be a map such as {model: NAME, task: NAME}; found " +
                    (item.is_map() ? std::string("an empty map") : describe(item)));
    return;
  }
  std::vector<CellKind> taken(kinds.begin(), kinds.end());  // by kinds that take all of its settings
  for (const Yaml::Entry& entry : item.entries) {
    if (entry.key == "model")
      exclusion.model = SelectorReader(Picked::kModels, {}, file_, catalog_, diagnostics_).read(entry.value);
    else if (entry.key == "task")
      exclusion.task = SelectorReader(Picked::kTasks, {}, file_, catalog_, diagnostics_).read(entry.value);
    else if (auto why = why_not_taken(entry.key, kinds, parts))
      diagnostics_.error({file_, entry.line, entry.column}, std::move(*why));
    else if (auto value = read_setting(*find_setting(entry.key), entry.value, file_, diagnostics_)) {
      exclusion.settings.emplace(entry.key, std::move(*value));
      std::erase_if(taken, [&](CellKind kind) { return !takes(*find_setting(entry.key), kind); });
    }
  }
  if (diagnostics_.error_count() == before && taken.empty())
    error(item,
          "no cell of this matrix has all of these settings, so nothing would be left out; name in one entry "
          "only settings of one kind of cell");
  if (diagnostics_.error_count() == before && std::ranges::find(taken, stage.kind) != taken.end())
    stage.exclude.push_back(std::move(exclusion));
}

void StageReader::read_command(const Section& section, Stage& stage) {
  const Yaml& node = *section.node;
  if (!affordable(node)) return;
  const bool can = stage.kind != CellKind::kBench;
  if (!can) {
    if (!section.inherited) error(node, "a bench cell runs no command; the kind of cell for it is command");
    return;
  }
  if (!node.is_list() || node.items.empty()) {
    error(node, "command must be a list of words, [program, argument, …], which no shell takes apart; found " +
                    (node.is_list() ? std::string("an empty list") : describe(node)));
    return;
  }
  for (const Yaml& item : node.items) {
    if (!item.is_scalar()) {
      error(item, "a word of the command must be a text, found " + describe(item));
      continue;
    }
    if (item.text.find('\0') != std::string::npos) {
      error(item, "a word of the command cannot hold a zero byte");
      continue;
    }
    if (stage.command.empty() && item.text.empty())
      error(item, "the first word of the command is the program, and it is empty");
    check_placeholders(item, stage);
    stage.command.push_back(item.text);
  }
}

void StageReader::check_placeholders(const Yaml& item, const Stage& stage) {
  const auto parts = parse_argument(item.text);
  if (!parts) {
    error(item, parts.error().what);
    return;
  }
  const auto known = placeholder_names();
  const std::string prefix = "settings.";
  for (const CommandPart& part : *parts) {
    if (!part.is_placeholder) continue;
    const std::string shown_name = "{" + shown(part.text) + "}";
    if (part.text.starts_with(prefix)) {
      const std::string setting = part.text.substr(prefix.size());
      if (auto why = why_not_taken(setting, std::array{stage.kind}))
        error(item, shown_name + ": " + *why);
      else if (stage.kind == CellKind::kCommand && !is_given(setting, stage))
        error(item, shown_name + " stands for nothing: the stage does not set " + quote(setting));
    } else if (std::ranges::find(known, part.text) == known.end()) {
      std::vector<std::string> names(known.begin(), known.end());
      names.emplace_back("settings.NAME");
      const auto near = nearest(part.text, names);
      error(item, "no placeholder " + shown_name +
                      (near ? "; did you mean {" + *near + "}?" : "; there are {" + join(names, "}, {") + "}"));
    } else if (part.text == "adapter" && stage.adapter_of.empty()) {
      error(item, "{adapter} stands for nothing: the stage has no `adapter: STAGE`");
    } else if (stage.kind == CellKind::kCommand) {
      const bool of_model = part.text == "model" || part.text == "hf_id";
      const auto said = [&](const char* key) { return stage.places.contains(key); };
      const bool picks_models = said("models") || said("categories") || said("adapter");
      const bool picks_tasks = said("tasks") || said("categories");
      if (of_model && !picks_models) error(item, shown_name + " stands for nothing: the stage picks no models");
      if (part.text == "task" && !picks_tasks)
        error(item, shown_name + " stands for nothing: the stage picks no tasks");
      if (part.text == "dtype" && !picks_models && !is_given("dtype", stage))
        error(item, shown_name + " stands for nothing: the stage has no models and sets no 'dtype'");
    }
  }
}

void StageReader::check_stage(const Yaml& node, const Yaml* outer, const Stage& stage) {
  const std::string what = outer ? "stage " + quote(stage.name) : "a matrix";
  const std::string kind(name_of(stage.kind));
  const auto said = [&](const char* key) { return node.find(key) || (outer && outer->find(key)); };
  const bool by_category = said("categories");
  const auto need = [&](const char* key, const std::string& why) {
    if (!said(key)) error(node, what + " of kind " + kind + " needs the key " + quote(key) + why);
  };
  const bool picks_models = stage.kind == CellKind::kEval || stage.kind == CellKind::kTrain;
  if (node.is_map() && picks_models && !by_category) {
    // An adapter's stage takes the models that were trained when it names none.
    if (stage.places.find("adapter") == stage.places.end()) need("models", "");
    need("tasks", "");
  }
  if (node.is_map() && stage.kind == CellKind::kBench) {
    need("tasks", "");
    for (const char* key : {"models", "categories"})
      if (const Yaml* own = node.find(key))
        error(*own, std::string("a benchmark needs no models: leave out ") + quote(key));
  }
  if (node.is_map() && stage.kind == CellKind::kCommand) need("command", ": the program and its arguments");
  if (said("command") || stage.kind == CellKind::kCommand) return;
  const auto check_engine = [&](const Axes& axes, const Place& place) {
    const auto engine = axes.find("engine");
    if (engine != axes.end() && std::ranges::find(engine->second, SettingValue("command")) != engine->second.end())
      diagnostics_.error(place, "the engine command needs the key 'command': the program and its arguments");
  };
  check_engine(stage.settings, stage.place_of("settings.engine"));
  for (const auto* selectors : {&stage.models, &stage.tasks})
    for (const Selector& selector : *selectors) check_engine(selector.settings, selector.place);
}

}  // namespace orch::matrix
