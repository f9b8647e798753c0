#include "matrix/matrix.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"
#include "matrix/command.h"

namespace orch::matrix {
namespace {

constexpr std::size_t kMostStages = 100;
constexpr long long kMostSelectors = 5000;      // in one list
constexpr std::size_t kMostValues = 1'000'000;  // read for all stages together, what they inherit counted for each
constexpr std::array kAllKinds = {CellKind::kEval, CellKind::kTrain, CellKind::kBench, CellKind::kCommand};
constexpr std::array kTaskKinds = {
    TaskKind::kMultipleChoice, TaskKind::kExactMatch, TaskKind::kCode, TaskKind::kFunctionCalling,
    TaskKind::kVisionLanguage, TaskKind::kTrain,      TaskKind::kBench};
constexpr std::array kModelKinds = {ModelKind::kText, ModelKind::kVisionLanguage, ModelKind::kImage, ModelKind::kOther};

enum class Picked { kModels, kTasks };

std::string_view one(Picked what) { return what == Picked::kModels ? "model" : "task"; }

std::vector<std::string> groups_of(const Catalog& catalog) {
  std::set<std::string> groups;
  for (const Task& task : catalog.tasks.all())
    if (!task.group.empty()) groups.insert(task.group);
  return {groups.begin(), groups.end()};
}

std::vector<std::string> kinds_of(Picked what) {
  std::vector<std::string> words;
  if (what == Picked::kModels) {
    for (const ModelKind kind : kModelKinds) words.emplace_back(name_of(kind));
  } else {
    words.emplace_back("eval");
    for (const TaskKind kind : kTaskKinds) words.emplace_back(name_of(kind));
  }
  return words;
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

bool name_fits(const Selector& selector, const std::string& name) {
  return !selector.name || (is_glob(*selector.name) ? glob_match(*selector.name, name) : *selector.name == name);
}

bool in_category(const Selector& selector, const Catalog& catalog, std::vector<std::string> Category::*members,
                 const std::string& name) {
  if (!selector.category) return true;
  const Category* category = catalog.categories.find(*selector.category);
  return category && holds(category->*members, name);
}

std::size_t count_picked(const Selector& selector, Picked what, const Catalog& catalog) {
  const std::span<const Selector> single(&selector, 1);
  return what == Picked::kModels ? pick_models(single, catalog).size() : pick_tasks(single, catalog).size();
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

void error_at(Diagnostics& diagnostics, const Yaml& node, const std::string& file, std::string what) {
  diagnostics.error(place_of(node, file), std::move(what));
}

// --- Selectors ---

/// Reads what picks models or tasks; `kinds` are those of the stages that will use it.
class SelectorReader {
 public:
  SelectorReader(Picked what, std::span<const CellKind> kinds, const std::string& file, const Catalog& catalog,
                 Diagnostics& diagnostics)
      : what_(what), kinds_(kinds), file_(file), catalog_(catalog), diagnostics_(diagnostics) {}

  std::vector<Selector> read_list(const Yaml& node) {
    std::vector<Selector> selectors;
    if (node.is_scalar() || node.is_map()) {
      if (auto selector = read(node)) selectors.push_back(std::move(*selector));
      return selectors;
    }
    const std::string list = std::string(one(what_)) + "s";
    if (!node.is_list()) {
      error(node, list + " must be a list of names, globs and conditions, found " + describe(node));
      return selectors;
    }
    if (node.items.empty()) error(node, "an empty list of " + list + " makes no cells: name some, or '*' for all");
    if (static_cast<long long>(node.items.size()) > kMostSelectors) {
      error(node, "at most " + grouped(kMostSelectors) + " entries, found " +
                      grouped(static_cast<long long>(node.items.size())) +
                      "; a glob or a condition picks many at once");
      return selectors;
    }
    std::map<std::string, Place> named;
    for (const Yaml& item : node.items) {
      auto selector = read(item);
      if (!selector) continue;
      if (selector->is_exact()) {
        const auto [first, added] = named.try_emplace(*selector->name, selector->place);
        if (!added)
          error(item, std::string(one(what_)) + " " + quote(*selector->name) + " is named twice (first at line " +
                          std::to_string(first->second.line) +
                          "): its cells would be asked for twice; for several values of a "
                          "setting give a list, as in {name: " +
                          shown(*selector->name) + ", seed: [0, 1]}");
      }
      selectors.push_back(std::move(*selector));
    }
    return selectors;
  }

  std::optional<Selector> read(const Yaml& node) {
    bad_ = false;
    Selector selector;
    selector.place = place_of(node, file_);
    if (node.is_scalar())
      read_name(selector, node);
    else if (node.is_map())
      read_conditions(selector, node);
    else
      error(node, "a " + std::string(one(what_)) + " is picked by a name, a glob or a map of conditions; found " +
                      describe(node));
    if (bad_) return std::nullopt;
    if (count_picked(selector, what_, catalog_) == 0) {
      const bool only_glob = node.is_scalar();
      error(node, only_glob ? "no " + std::string(one(what_)) + " matches " + quote(*selector.name)
                            : "no " + std::string(one(what_)) + " meets all of these conditions");
      return std::nullopt;
    }
    return selector;
  }

 private:
  // Problems are counted here and not by the diagnostics, which keep one that is found again (of an inherited list)
  // only once.
  void error(const Place& place, std::string what) {
    bad_ = true;
    diagnostics_.error(place, std::move(what));
  }
  void error(const Yaml& node, std::string what) { error(place_of(node, file_), std::move(what)); }

  std::vector<std::string> condition_names() const {
    if (what_ == Picked::kModels) return {"name", "model", "category", "family", "kind", "min_params", "max_params"};
    return {"name", "task", "category", "group", "kind"};
  }

  void read_name(Selector& selector, const Yaml& node) {
    if (!node.is_scalar()) {
      error(node, "the name of a " + std::string(one(what_)) + " must be a text, found " + describe(node));
      return;
    }
    selector.name = node.text == "all" ? "*" : node.text;
    if (is_glob(*selector.name)) return;
    const bool models = what_ == Picked::kModels;
    const bool known = models ? catalog_.models.find(node.text) != nullptr : catalog_.tasks.find(node.text) != nullptr;
    if (known) return;
    // Past what is kept, a hint is only work.
    if (diagnostics_.error_count() >= Diagnostics::kMost) return error(node, "no such name");
    const auto names = models ? catalog_.models.names() : catalog_.tasks.names();
    error(node, "no " + std::string(one(what_)) + " " + quote(node.text) + hint(node.text, names) + " (orchctl " +
                    std::string(one(what_)) + "s lists all " + std::to_string(names.size()) + ")");
  }

  /// A word that must be one of `known`.
  std::optional<std::string> read_word(const Yaml::Entry& entry, const std::vector<std::string>& known) {
    const Yaml& node = entry.value;
    if (node.is_scalar() && holds(known, node.text)) return node.text;
    if (!node.is_scalar()) {
      error(node, quote(entry.key) + " must be a text, found " + describe(node));
      return std::nullopt;
    }
    const auto near = nearest(node.text, known);
    std::string what = "no " + entry.key + " " + quote(node.text);
    what += near ? "; did you mean " + quote(*near) + "?" : known.empty() ? "" : "; there are " + join(known, ", ");
    error(node, std::move(what));
    return std::nullopt;
  }

  std::optional<double> read_params(const Yaml::Entry& entry) {
    if (entry.value.is_scalar())
      if (const auto value = parse_count(entry.value.text)) return value;
    error_at(diagnostics_, entry.value, file_,
             quote(entry.key) + " must be a count of parameters such as 7B or 360M; found " + describe(entry.value));
    return std::nullopt;
  }

  void read_conditions(Selector& selector, const Yaml& node) {
    const auto conditions = condition_names();
    if (node.entries.empty()) error(node, "an empty map picks nothing; '*' picks every " + std::string(one(what_)));
    for (const Yaml::Entry& entry : node.entries) {
      const std::string& key = entry.key;
      const Place at{file_, entry.line, entry.column};
      if (!holds(conditions, key)) {
        if (auto why = why_not_taken(key, kinds_, conditions)) {
          error(at, std::move(*why));
          continue;
        }
        auto values = read_axis(*find_setting(key), entry.value, file_, diagnostics_);
        if (values.empty()) bad_ = true;
        selector.settings[key] = std::move(values);
      } else if (key == "name" || key == one(what_)) {
        if (selector.name)
          error(at, "'name' and " + quote(one(what_)) + " say the same: give one of them");
        else
          read_name(selector, entry.value);
      } else if (key == "category") {
        selector.category = read_word(entry, catalog_.categories.names());
      } else if (key == "family") {
        selector.family = read_word(entry, catalog_.families());
      } else if (key == "group") {
        selector.group = read_word(entry, groups_of(catalog_));
      } else if (key == "kind") {
        selector.kind = read_word(entry, kinds_of(what_));
      } else if (key == "min_params") {
        selector.min_params = read_params(entry);
      } else {
        selector.max_params = read_params(entry);
      }
    }
    if (selector.min_params && selector.max_params && *selector.min_params > *selector.max_params)
      error(node, "min_params is above max_params: no model can be both");
  }

  Picked what_;
  std::span<const CellKind> kinds_;
  const std::string& file_;
  const Catalog& catalog_;
  Diagnostics& diagnostics_;
  bool bad_ = false;
};

// --- Stages ---

/// A value, and which stages use it: what stands beside `stages:` serves those without a value of their own.
struct Block {
  const Yaml* node = nullptr;
  bool inherited = false;
};

class Reader {
 public:
  Reader(const std::string& file, const Catalog& catalog, Diagnostics& diagnostics)
      : file_(file), catalog_(catalog), diagnostics_(diagnostics) {}

  Matrix read(const Yaml& root) {
    Matrix matrix;
    Fields fields(root, file_, "a matrix", diagnostics_);
    matrix.source = fields.place();
    fields.require("name");
    matrix.name = fields.name("name").value_or("");
    matrix.description = fields.text("description").value_or("");
    for (const char* key : {"kind", "models", "tasks", "categories", "exclude", "settings", "command"}) fields.get(key);
    if (const Yaml* submit = fields.get("submit")) matrix.submit = read_submit(*submit, file_, diagnostics_);
    const Yaml* stages = fields.get("stages");
    fields.finish();
    if (!root.is_map()) return matrix;

    if (!stages) {
      for (const char* key : {"adapter", "after"})
        if (const Yaml* node = root.find(key))
          error_at(diagnostics_, *node, file_, quote(key) + " refers to another stage, and there are no `stages`");
      kinds_ = {read_kind({root.find("kind")})};
      matrix.stages.push_back(read_stage("main", root, nullptr, kinds_.front()));
      matrix.stages.front().place = matrix.source;
      return matrix;
    }
    if (!stages->is_map() || stages->entries.empty()) {
      error_at(diagnostics_, *stages, file_,
               "stages must be a map from a stage's name to what it does; found " +
                   (stages->is_map() ? std::string("an empty map") : describe(*stages)));
      return matrix;
    }
    if (stages->entries.size() > kMostStages) {
      error_at(diagnostics_, *stages, file_,
               "at most " + std::to_string(kMostStages) + " stages, found " + std::to_string(stages->entries.size()));
      return matrix;
    }
    for (const Yaml::Entry& entry : stages->entries) kinds_.push_back(read_kind(inherit(entry.value, root, "kind")));
    for (std::size_t i = 0; i < stages->entries.size(); ++i) {
      const Yaml::Entry& entry = stages->entries[i];
      if (!is_name(entry.key))
        diagnostics_.error({file_, entry.line, entry.column},
                           "a stage's name has letters, digits and _ . - : / +, and at most 200 of them");
      matrix.stages.push_back(read_stage(entry.key, entry.value, &root, kinds_[i]));
      matrix.stages.back().place = {file_, entry.line, entry.column};
    }
    check_references(matrix.stages);
    return matrix;
  }

 private:
  static Block inherit(const Yaml& node, const Yaml& outer, const char* key) {
    if (const Yaml* own = node.find(key)) return {own, false};
    return {outer.find(key), true};
  }

  CellKind read_kind(Block block) {
    if (!block.node) return CellKind::kEval;
    std::vector<std::string> words;
    for (const CellKind kind : kAllKinds) words.emplace_back(name_of(kind));
    if (block.node->is_scalar())
      if (const auto kind = cell_kind_named(block.node->text)) return *kind;
    error_at(diagnostics_, *block.node, file_,
             "'kind' must be one of " + join(words, ", ") + "; found " + describe(*block.node) +
                 (block.node->is_scalar() ? hint(block.node->text, words) : ""));
    return CellKind::kEval;
  }

  static std::size_t values_in(const Yaml& node) {
    std::size_t count = 1;
    for (const Yaml& item : node.items) count += values_in(item);
    for (const Yaml::Entry& entry : node.entries) count += values_in(entry.value);
    return count;
  }

  /// Whether what is read stays within bounds: a small file could make each of many stages inherit a large list.
  bool affordable(const Yaml& node) {
    if (values_read_ > kMostValues) return false;  // said once is enough
    values_read_ += values_in(node);
    if (values_read_ <= kMostValues) return true;
    error_at(
        diagnostics_, node, file_,
        "the stages have more than " + grouped(kMostValues) + " values together, what they inherit counted for each");
    return false;
  }

  /// What an inherited value is checked against: the kinds of all stages, as each takes from it what it can.
  std::vector<CellKind> kinds_for(const Block& block, CellKind own) const {
    if (!block.inherited) return {own};
    std::vector<CellKind> kinds;
    for (const CellKind kind : kAllKinds)
      if (std::ranges::find(kinds_, kind) != kinds_.end()) kinds.push_back(kind);
    return kinds;
  }

  static void keep_taken(Axes& axes, CellKind kind) {
    std::erase_if(axes, [&](const auto& axis) { return !takes(*find_setting(axis.first), kind); });
  }

  /// `outer` is the whole matrix when `node` is one of its stages.
  Stage read_stage(const std::string& name, const Yaml& node, const Yaml* outer, CellKind kind) {
    Stage stage;
    stage.name = name;
    stage.kind = kind;
    if (outer) check_keys(node);
    const auto block = [&](const char* key) {
      const Block found = outer ? inherit(node, *outer, key) : Block{node.find(key), false};
      if (found.node) stage.places[key] = place_of(*found.node, file_);
      return found;
    };
    if (outer) read_links(node, stage);
    read_settings(node, outer, stage);
    stage.tasks = read_selectors(block("tasks"), Picked::kTasks, kind);
    if (kind != CellKind::kBench) {
      stage.models = read_selectors(block("models"), Picked::kModels, kind);
      if (const Block found = block("categories"); found.node) read_categories(*found.node, stage);
    }
    if (outer)
      if (const Yaml* exclude = outer->find("exclude")) read_exclude({exclude, true}, stage);
    if (const Yaml* exclude = node.find("exclude")) read_exclude({exclude, false}, stage);
    if (const Block found = block("command"); found.node) read_command(found, stage);
    check_stage(node, outer, stage);
    return stage;
  }

  void check_keys(const Yaml& node) {
    Fields fields(node, file_, "a stage", diagnostics_);
    for (const char* key :
         {"kind", "models", "tasks", "categories", "exclude", "settings", "command", "adapter", "after"})
      fields.get(key);
    fields.finish();
  }

  void read_links(const Yaml& node, Stage& stage) {
    Fields fields(node, file_, "a stage", diagnostics_);
    if (!node.is_map()) return;
    if (const Yaml* adapter = fields.get("adapter")) {
      stage.places["adapter"] = place_of(*adapter, file_);
      stage.adapter_of = fields.text("adapter").value_or("");
      if (stage.adapter_of.empty() && adapter->is_scalar())
        error_at(diagnostics_, *adapter, file_, "'adapter' must name the train stage whose adapters are used");
      if (stage.kind != CellKind::kEval && stage.kind != CellKind::kCommand)
        error_at(diagnostics_, *adapter, file_,
                 "only eval and command stages take an adapter, and this one is of kind " +
                     std::string(name_of(stage.kind)));
    }
    if (const Yaml* after = fields.get("after")) {
      stage.places["after"] = place_of(*after, file_);
      stage.after = fields.texts("after").value_or(std::vector<std::string>());
    }
  }

  void read_settings(const Yaml& node, const Yaml* outer, Stage& stage) {
    const auto add = [&](const Yaml& from, const Block& block) {
      const Yaml* settings = from.find("settings");
      if (!settings || !affordable(*settings)) return;
      stage.places["settings"] = place_of(*settings, file_);
      Axes axes = read_axes(*settings, kinds_for(block, stage.kind), file_, diagnostics_);
      keep_taken(axes, stage.kind);
      if (axes.contains("epochs") && axes.contains("steps"))
        error_at(diagnostics_, *settings, file_,
                 "'epochs' and 'steps' both say how long training lasts: give one of them");
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

  std::vector<Selector> read_selectors(const Block& block, Picked what, CellKind kind) {
    if (!block.node || !affordable(*block.node)) return {};
    const auto kinds = kinds_for(block, kind);
    auto selectors = SelectorReader(what, kinds, file_, catalog_, diagnostics_).read_list(*block.node);
    for (Selector& selector : selectors) {
      keep_taken(selector.settings, kind);
      if (what == Picked::kModels || !selector.is_exact()) continue;
      const Task* task = catalog_.tasks.find(*selector.name);
      if (!task || fits_kind(*task, kind)) continue;
      diagnostics_.error(selector.place, "task " + quote(task->name) + " is of kind " +
                                             std::string(name_of(task->kind)) + ", which no " +
                                             std::string(name_of(kind)) + " cell can do; the kind of cell for it is " +
                                             (task->is_eval() ? "eval" : std::string(name_of(task->kind))));
    }
    return selectors;
  }

  void read_categories(const Yaml& node, Stage& stage) {
    const std::vector<Yaml> single = {node};
    if (!node.is_scalar() && !node.is_list()) {
      error_at(diagnostics_, node, file_, "categories must be a list of names, found " + describe(node));
      return;
    }
    if (node.is_list() && node.items.empty())
      error_at(diagnostics_, node, file_, "an empty list of categories makes no cells: name some");
    const auto known = catalog_.categories.names();
    for (const Yaml& item : node.is_list() ? node.items : single) {
      if (!item.is_scalar())
        error_at(diagnostics_, item, file_, "the name of a category must be a text, found " + describe(item));
      else if (!holds(known, item.text))
        error_at(diagnostics_, item, file_, "no category " + quote(item.text) + hint(item.text, known));
      else if (holds(stage.categories, item.text))
        error_at(diagnostics_, item, file_, "category " + quote(item.text) + " is named twice");
      else
        stage.categories.push_back(item.text);
    }
  }

  void read_exclude(const Block& block, Stage& stage) {
    const Yaml& node = *block.node;
    if (!affordable(node)) return;
    if (static_cast<long long>(node.items.size()) > kMostSelectors) {
      error_at(diagnostics_, node, file_,
               "at most " + grouped(kMostSelectors) + " exclusions, found " +
                   grouped(static_cast<long long>(node.items.size())));
      return;
    }
    if (!node.is_list()) {
      error_at(diagnostics_, node, file_,
               "exclude must be a list of maps such as {model: NAME, task: NAME}; found " + describe(node));
      return;
    }
    const auto kinds = kinds_for(block, stage.kind);
    const std::vector<std::string> parts = {"model", "task"};
    for (const Yaml& item : node.items) {
      const std::size_t before = diagnostics_.error_count();
      Exclusion exclusion;
      exclusion.place = place_of(item, file_);
      if (!item.is_map() || item.entries.empty()) {
        error_at(diagnostics_, item, file_,
                 "what is excluded must be a map such as {model: NAME, task: NAME}; found " +
                     (item.is_map() ? std::string("an empty map") : describe(item)));
        continue;
      }
      bool taken = true;
      for (const Yaml::Entry& entry : item.entries) {
        if (entry.key == "model")
          exclusion.model = SelectorReader(Picked::kModels, {}, file_, catalog_, diagnostics_).read(entry.value);
        else if (entry.key == "task")
          exclusion.task = SelectorReader(Picked::kTasks, {}, file_, catalog_, diagnostics_).read(entry.value);
        else if (auto why = why_not_taken(entry.key, kinds, parts))
          diagnostics_.error({file_, entry.line, entry.column}, std::move(*why));
        else if (auto value = read_setting(*find_setting(entry.key), entry.value, file_, diagnostics_)) {
          exclusion.settings.emplace(entry.key, std::move(*value));
          taken = taken && takes(*find_setting(entry.key), stage.kind);
        }
      }
      if (diagnostics_.error_count() == before && taken) stage.exclude.push_back(std::move(exclusion));
    }
  }

  void read_command(const Block& block, Stage& stage) {
    const Yaml& node = *block.node;
    if (!affordable(node)) return;
    const bool can = stage.kind != CellKind::kBench;
    if (!can) {
      if (!block.inherited)
        error_at(diagnostics_, node, file_, "a bench cell runs no command; the kind of cell for it is command");
      return;
    }
    if (!node.is_list() || node.items.empty()) {
      error_at(diagnostics_, node, file_,
               "command must be a list of words, [program, argument, …], which no shell takes apart; found " +
                   (node.is_list() ? std::string("an empty list") : describe(node)));
      return;
    }
    for (const Yaml& item : node.items) {
      if (!item.is_scalar()) {
        error_at(diagnostics_, item, file_, "a word of the command must be a text, found " + describe(item));
        continue;
      }
      if (item.text.find('\0') != std::string::npos) {
        error_at(diagnostics_, item, file_, "a word of the command cannot hold a zero byte");
        continue;
      }
      if (stage.command.empty() && item.text.empty())
        error_at(diagnostics_, item, file_, "the first word of the command is the program, and it is empty");
      check_placeholders(item, stage);
      stage.command.push_back(item.text);
    }
  }

  void check_placeholders(const Yaml& item, const Stage& stage) {
    const auto parts = parse_argument(item.text);
    if (!parts) {
      error_at(diagnostics_, item, file_, parts.error().what);
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
          error_at(diagnostics_, item, file_, shown_name + ": " + *why);
        else if (stage.kind == CellKind::kCommand && !is_given(setting, stage))
          error_at(diagnostics_, item, file_,
                   shown_name + " stands for nothing: the stage does not set " + quote(setting));
      } else if (std::ranges::find(known, part.text) == known.end()) {
        std::vector<std::string> names(known.begin(), known.end());
        names.emplace_back("settings.NAME");
        const auto near = nearest(part.text, names);
        error_at(diagnostics_, item, file_,
                 "no placeholder " + shown_name +
                     (near ? "; did you mean {" + *near + "}?" : "; there are {" + join(names, "}, {") + "}"));
      } else if (part.text == "adapter" && stage.adapter_of.empty()) {
        error_at(diagnostics_, item, file_, "{adapter} stands for nothing: the stage has no `adapter: STAGE`");
      } else if (stage.kind == CellKind::kCommand) {
        const bool of_model = part.text == "model" || part.text == "hf_id";
        const auto said = [&](const char* key) { return stage.places.contains(key); };
        const bool picks_models = said("models") || said("categories") || said("adapter");
        const bool picks_tasks = said("tasks") || said("categories");
        if (of_model && !picks_models)
          error_at(diagnostics_, item, file_, shown_name + " stands for nothing: the stage picks no models");
        if (part.text == "task" && !picks_tasks)
          error_at(diagnostics_, item, file_, shown_name + " stands for nothing: the stage picks no tasks");
        if (part.text == "dtype" && !picks_models && !is_given("dtype", stage))
          error_at(diagnostics_, item, file_,
                   shown_name + " stands for nothing: the stage has no models and sets no 'dtype'");
      }
    }
  }

  /// Whether every cell of the stage surely or possibly has the setting.
  static bool is_given(const std::string& name, const Stage& stage) {
    const auto sets = [&](const Selector& selector) { return selector.settings.contains(name); };
    return name == "seed" || name == "gpus" || stage.settings.contains(name) ||
           std::ranges::any_of(stage.models, sets) || std::ranges::any_of(stage.tasks, sets) ||
           !stage.categories.empty();
  }

  void check_stage(const Yaml& node, const Yaml* outer, const Stage& stage) {
    const std::string what = outer ? "stage " + quote(stage.name) : "a matrix";
    const std::string kind(name_of(stage.kind));
    const auto said = [&](const char* key) { return node.find(key) || (outer && outer->find(key)); };
    const bool by_category = said("categories");
    const auto need = [&](const char* key, const std::string& why) {
      if (!said(key))
        error_at(diagnostics_, node, file_, what + " of kind " + kind + " needs the key " + quote(key) + why);
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
          error_at(diagnostics_, *own, file_, std::string("a benchmark needs no models: leave out ") + quote(key));
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

  // --- Between stages ---

  void check_references(std::vector<Stage>& stages) {
    std::vector<std::string> names;
    for (const Stage& stage : stages) names.push_back(stage.name);
    const auto check = [&](const std::string& name, const Place& place) {
      if (!holds(names, name))
        diagnostics_.error(
            place, "no stage " + quote(name) + hint(name, names) + "; the stages are " + shown(join(names, ", "), 400));
    };
    for (const Stage& stage : stages) {
      for (const std::string& name : stage.after) check(name, stage.place_of("after"));
      if (stage.adapter_of.empty()) continue;
      const Place& place = stage.place_of("adapter");
      check(stage.adapter_of, place);
      const auto target = std::ranges::find(stages, stage.adapter_of, &Stage::name);
      if (target != stages.end() && target->kind != CellKind::kTrain && target->name != stage.name)
        diagnostics_.error(place, "stage " + quote(target->name) + " is of kind " + std::string(name_of(target->kind)) +
                                      " and makes no adapter; 'adapter' must name a train stage");
    }
    find_cycles(stages);
  }

  struct Walk {
    const std::vector<Stage>& stages;
    std::vector<int> seen;  // 0 not yet, 1 on the path, 2 done
    std::vector<std::size_t> path;
  };

  void find_cycles(const std::vector<Stage>& stages) {
    Walk walk{stages, std::vector<int>(stages.size()), {}};
    for (std::size_t i = 0; i < stages.size(); ++i)
      if (walk.seen[i] == 0) follow(walk, i);
  }

  void follow(Walk& walk, std::size_t at) {
    walk.seen[at] = 1;
    walk.path.push_back(at);
    const Stage& stage = walk.stages[at];
    const auto step = [&](const std::string& name, const char* key) {
      const auto next =
          static_cast<std::size_t>(std::ranges::find(walk.stages, name, &Stage::name) - walk.stages.begin());
      if (next == walk.stages.size()) return;
      if (walk.seen[next] == 1) {
        std::string cycle;
        for (auto from = std::ranges::find(walk.path, next); from != walk.path.end(); ++from)
          cycle += walk.stages[*from].name + " → ";
        diagnostics_.error(stage.place_of(key), "a cycle, in which no stage could start: " + shown(cycle + name, 400));
      } else if (walk.seen[next] == 0) {
        follow(walk, next);
      }
    };
    if (!stage.adapter_of.empty()) step(stage.adapter_of, "adapter");
    for (const std::string& name : stage.after) step(name, "after");
    walk.path.pop_back();
    walk.seen[at] = 2;
  }

  const std::string& file_;
  const Catalog& catalog_;
  Diagnostics& diagnostics_;
  std::vector<CellKind> kinds_;  // of the stages
  std::size_t values_read_ = 0;
};

template <class Entries, class Fits>
std::vector<std::uint32_t> pick(const Entries& entries, Fits fits) {
  std::vector<std::uint32_t> picked;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (fits(entries[i])) picked.push_back(static_cast<std::uint32_t>(i));
  return picked;
}

}  // namespace

bool Selector::is_exact() const { return name && !is_glob(*name); }

const Place& Stage::place_of(const std::string& key) const {
  const auto found = places.find(key);
  return found == places.end() ? place : found->second;
}

bool picks(const Selector& selector, const Model& model, const Catalog& catalog) {
  return name_fits(selector, model.name) && in_category(selector, catalog, &Category::models, model.name) &&
         (!selector.family || *selector.family == model.family) &&
         (!selector.kind || *selector.kind == name_of(model.kind)) &&
         (!selector.min_params || model.params >= *selector.min_params) &&
         (!selector.max_params || model.params <= *selector.max_params);
}

bool picks(const Selector& selector, const Task& task, const Catalog& catalog) {
  const bool kind_fits =
      !selector.kind || (*selector.kind == "eval" ? task.is_eval() : *selector.kind == name_of(task.kind));
  return kind_fits && name_fits(selector, task.name) && in_category(selector, catalog, &Category::tasks, task.name) &&
         (!selector.group || *selector.group == task.group);
}

std::vector<std::uint32_t> pick_models(std::span<const Selector> selectors, const Catalog& catalog) {
  return pick(catalog.models.all(), [&](const Model& model) {
    return std::ranges::any_of(selectors, [&](const Selector& selector) { return picks(selector, model, catalog); });
  });
}

std::vector<std::uint32_t> pick_tasks(std::span<const Selector> selectors, const Catalog& catalog) {
  return pick(catalog.tasks.all(), [&](const Task& task) {
    return std::ranges::any_of(selectors, [&](const Selector& selector) { return picks(selector, task, catalog); });
  });
}

std::vector<std::uint32_t> stage_order(std::span<const Stage> stages) {
  std::vector<std::uint32_t> order;
  std::vector<bool> placed(stages.size());
  const auto ready = [&](const Stage& stage) {
    const auto done = [&](const std::string& name) {
      for (std::size_t i = 0; i < stages.size(); ++i)
        if (stages[i].name == name) return static_cast<bool>(placed[i]);
      return false;
    };
    return (stage.adapter_of.empty() || done(stage.adapter_of)) && std::ranges::all_of(stage.after, done);
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < stages.size() && !moved; ++i) {
      if (placed[i] || !ready(stages[i])) continue;
      placed[i] = moved = true;
      order.push_back(static_cast<std::uint32_t>(i));
    }
  }
  return order;
}

Axes category_axes(const Category& category, CellKind kind, Diagnostics& diagnostics) {
  Axes axes;
  for (const auto& [name, node] : category.settings) {
    if (auto why = why_not_taken(name, kAllKinds)) {
      diagnostics.error(place_of(node, category.source.file), "category " + quote(category.name) + ": " + *why);
      continue;
    }
    const SettingDef& def = *find_setting(name);
    auto values = read_axis(def, node, category.source.file, diagnostics);
    if (takes(def, kind) && !values.empty()) axes[name] = std::move(values);
  }
  return axes;
}

void check_category_settings(const Catalog& catalog, Diagnostics& diagnostics) {
  for (const Category& category : catalog.categories.all()) category_axes(category, CellKind::kEval, diagnostics);
}

std::optional<Matrix> read_matrix(const Yaml& root, const std::string& file, const Catalog& catalog,
                                  Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  Matrix matrix = Reader(file, catalog, diagnostics).read(root);
  for (const Stage& stage : matrix.stages) {
    std::vector<std::string> used = stage.categories;
    for (const auto* selectors : {&stage.models, &stage.tasks})
      for (const Selector& selector : *selectors)
        if (selector.category) used.push_back(*selector.category);
    for (const std::string& name : used)
      if (const Category* category = catalog.categories.find(name)) category_axes(*category, stage.kind, diagnostics);
  }
  if (diagnostics.error_count() != before) return std::nullopt;
  return matrix;
}

}  // namespace orch::matrix
