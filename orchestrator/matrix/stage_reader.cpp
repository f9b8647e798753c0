#include "matrix/stage_reader.h"

#include <algorithm>
#include <array>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

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
    if (std::ranges::find(outline_.kinds, kind) != outline_.kinds.end()) kinds.push_back(kind);
  return kinds;
}

/// Settings besides those of the table that may stand there: of what is inherited, those of any command.
const std::set<std::string>& StageReader::told(const Section& section) const {
  return section.inherited ? outline_.told : told_;
}

void StageReader::keep_taken(Axes& axes, CellKind kind) const {
  std::erase_if(axes, [&](const auto& axis) {
    const SettingDef* def = find_setting(axis.first);
    return !(def && takes(*def, kind)) && !told_.contains(axis.first);
  });
}

void StageReader::check_bench(const Axes& axes, const Place& place) {
  for (const auto& [name, values] : axes)
    for (const SettingValue& value : values)
      if (const SettingDef* def = find_setting(name); def && !is_for_bench(*def, value))
        diagnostics_.error(
            place, "a benchmark runs on whole GPUs, one at least; found " + quote(name) + " " + plain_text(value));
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
  const Section command = section("command");
  told_ = kind == CellKind::kCommand ? own_settings_in(command.node) : std::set<std::string>();
  if (outer) read_links(node, stage);
  read_settings(node, outer, command, stage);
  stage.tasks = read_selectors(section("tasks"), Picked::kTasks, kind);
  if (kind != CellKind::kBench) {
    stage.models = read_selectors(section("models"), Picked::kModels, kind);
    if (const Section found = section("categories"); found.node) read_categories(*found.node, stage);
  }
  if (outer)
    if (const Yaml* exclude = outer->find("exclude")) read_exclude({exclude, true}, stage);
  if (const Yaml* exclude = node.find("exclude")) read_exclude({exclude, false}, stage);
  if (command.node) read_command(command, stage);
  if (const Section harness = section("lm_eval"); harness.node) read_harness(harness, stage);
  check_stage(node, outer, stage);
  return stage;
}

void StageReader::check_keys(const Yaml& node) {
  Fields fields(node, file_, "a stage", diagnostics_);
  for (const char* key :
       {"kind", "models", "tasks", "categories", "exclude", "settings", "command", "lm_eval", "adapter", "after"})
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

void StageReader::read_settings(const Yaml& node, const Yaml* outer, const Section& command, Stage& stage) {
  const auto add = [&](const Yaml& from, const Section& section) {
    const Yaml* settings = from.find("settings");
    if (!settings || !affordable(*settings)) return;
    stage.places["settings"] = place_of(*settings, file_);
    Axes axes = read_axes(*settings, kinds_for(section, stage.kind), file_, diagnostics_, told(section));
    keep_taken(axes, stage.kind);
    if (stage.kind == CellKind::kBench) check_bench(axes, place_of(*settings, file_));
    if (stage.kind != CellKind::kCommand) {
      if (auto why = why_not_lengths(axes)) error(*settings, std::move(*why));
      // The two are one choice: a stage that says steps drops the epochs it would inherit.
      if (axes.contains("steps")) stage.settings.erase("epochs");
      if (axes.contains("epochs")) stage.settings.erase("steps");
    }
    for (auto& [name, values] : axes) stage.settings[name] = std::move(values);
    for (const Yaml::Entry& entry : settings->entries)
      stage.places["settings." + entry.key] = {file_, entry.line, entry.column};
  };
  if (outer) add(*outer, {nullptr, true});
  if (command.node && command.inherited) read_beside_run(command, outer->find("settings"), stage);
  add(node, {nullptr, false});
  if (command.node && !command.inherited) read_beside_run(command, node.find("settings"), stage);
}

std::vector<Selector> StageReader::read_selectors(const Section& section, Picked what, CellKind kind) {
  if (!section.node || !affordable(*section.node)) return {};
  const auto kinds = kinds_for(section, kind);
  const bool of_models = what == Picked::kModels;
  const bool only_commands =
      section.inherited ? (of_models ? outline_.own_models : outline_.own_tasks) : kind == CellKind::kCommand;
  static const std::set<std::string> kNone;
  const std::set<std::string>& names = !only_commands ? kNone : of_models ? outline_.models : outline_.tasks;
  auto selectors =
      SelectorReader(what, kinds, {names, told(section)}, file_, catalog_, diagnostics_).read_list(*section.node);
  for (Selector& selector : selectors) {
    keep_taken(selector.settings, kind);
    if (kind == CellKind::kBench) check_bench(selector.settings, selector.place);
    if (selector.own) tell_of_near_name(selector, what);
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

/// A name of one's own may be a slip: the one that is meant is then nearly the same.
void StageReader::tell_of_near_name(const Selector& selector, Picked what) {
  const auto names = what == Picked::kModels ? catalog_.models.names() : catalog_.tasks.names();
  const auto near = nearest(*selector.name, names);
  if (!near) return;
  // nearest() also finds what only begins with the name, or holds it.
  const std::size_t longer = std::max(near->size(), selector.name->size());
  const std::size_t shorter = std::min(near->size(), selector.name->size());
  if (longer - shorter > selector.name->size() / 3) return;
  diagnostics_.warn(selector.place,
                    quote(*selector.name) + " is taken as your own name; the catalog has " + quote(*near));
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
  static const std::set<std::string> kNone;
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
      exclusion.model = SelectorReader(Picked::kModels, {}, {outline_.models, kNone}, file_, catalog_, diagnostics_)
                            .read(entry.value);
    else if (entry.key == "task")
      exclusion.task =
          SelectorReader(Picked::kTasks, {}, {outline_.tasks, kNone}, file_, catalog_, diagnostics_).read(entry.value);
    else
      read_excluded_setting(entry, kinds, taken, exclusion);
  }
  if (diagnostics_.error_count() == before && taken.empty())
    error(item,
          "no cell of this matrix has all of these settings, so nothing would be left out; name in one entry "
          "only settings of one kind of cell");
  if (diagnostics_.error_count() == before && std::ranges::find(taken, stage.kind) != taken.end())
    stage.exclude.push_back(std::move(exclusion));
}

/// Takes from `taken` the kinds whose cells do not have the setting.
void StageReader::read_excluded_setting(const Yaml::Entry& entry, std::span<const CellKind> kinds,
                                        std::vector<CellKind>& taken, Exclusion& exclusion) {
  const std::vector<std::string> parts = {"model", "task"};
  const bool told = outline_.told.contains(entry.key);
  const auto why = why_not_taken(entry.key, kinds, parts);
  if (why && !told) {
    diagnostics_.error({file_, entry.line, entry.column}, *why + hint_of_own(entry.key, kinds));
    return;
  }
  const SettingDef* def = find_setting(entry.key);
  auto value = why ? read_own_setting(entry.key, entry.value, file_, diagnostics_)
                   : read_setting(*def, entry.value, file_, diagnostics_);
  if (!value) return;
  exclusion.settings.emplace(entry.key, std::move(*value));
  std::erase_if(taken,
                [&](CellKind kind) { return !(def && takes(*def, kind)) && !(kind == CellKind::kCommand && told); });
}

void StageReader::check_stage(const Yaml& node, const Yaml* outer, const Stage& stage) {
  const std::string what = outer ? "stage " + quote(stage.name) : "a matrix";
  const std::string kind(name_of(stage.kind));
  const auto said = [&](const char* key) { return node.find(key) || (outer && outer->find(key)); };
  const bool by_category = said("categories");
  if (by_category)
    for (const auto* selectors : {&stage.models, &stage.tasks})
      for (const Selector& selector : *selectors)
        if (selector.own)
          diagnostics_.error(selector.place, quote(*selector.name) +
                                                 " is a name of your own, which no category holds: leave out "
                                                 "'categories', or name what the catalog has");
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
