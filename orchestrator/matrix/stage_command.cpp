// The program of a stage: its words, its variables, what stands beside them, and what their placeholders may name.
#include <algorithm>
#include <array>

#include "base/fields.h"
#include "base/submit.h"
#include "base/text.h"
#include "matrix/command.h"
#include "matrix/stage_reader.h"

namespace orch::matrix {
namespace {

constexpr std::size_t kMostValue = 1000;  // bytes of a variable, as in `submit`
/// Settings that may stand in the map of a command: what its cells take of a node, and the image.
constexpr std::array<const char*, 7> kBesideRun = {"gpus",   "nodes",      "time",     "cpus",
                                                   "memory", "gpu_memory", "container"};

/// Whether every cell of the stage surely or possibly has the setting.
bool is_given(const std::string& name, const Stage& stage) {
  const auto sets = [&](const Selector& selector) { return selector.settings.contains(name); };
  return name == "seed" || name == "gpus" || stage.settings.contains(name) || std::ranges::any_of(stage.models, sets) ||
         std::ranges::any_of(stage.tasks, sets) || !stage.categories.empty();
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

}  // namespace

std::optional<std::string> why_not_program(std::string_view word) {
  const bool from_a_folder = word.find('/') != std::string_view::npos && word.front() != '/' && word.front() != '{';
  if (!from_a_folder) return std::nullopt;
  return "the program " + quote(word) +
         " is named from a folder, and every cell runs in a folder of its own: give its whole path" +
         (word.starts_with("~/") ? " (no shell fills in ~)" : "") + ", or a name that is in the PATH of the jobs";
}

/// What the map of a command says of settings is the stage's value for them. `settings` stands beside the command.
void StageReader::read_beside_run(const Section& command, const Yaml* settings, Stage& stage) {
  if (!command.node->is_map() || stage.kind == CellKind::kBench) return;
  const auto kinds = kinds_for(command, stage.kind);
  for (const char* name : kBesideRun) {
    const Yaml* value = command.node->find(name);
    if (!value) continue;
    const SettingDef& def = *find_setting(name);
    if (std::ranges::none_of(kinds, [&](CellKind kind) { return takes(def, kind); })) {
      error(*value, quote(name) + " is for cells of kind command; what cells of kind " +
                        std::string(name_of(stage.kind)) + " need is worked out from model and task");
      continue;
    }
    if (settings && settings->find(name)) {
      error(*settings->find(name), quote(name) + " is said twice, here and beside 'run' in the command (line " +
                                       std::to_string(value->line) + "): say it in one place");
      continue;
    }
    auto read = read_setting(def, *value, file_, diagnostics_);
    if (!read || !takes(def, stage.kind)) continue;
    stage.settings[name] = {std::move(*read)};
    stage.places[std::string("settings.") + name] = place_of(*value, file_);
  }
}

void StageReader::read_command(const Section& section, Stage& stage) {
  const Yaml& node = *section.node;
  if (!affordable(node)) return;
  if (stage.kind == CellKind::kBench) {
    if (!section.inherited) error(node, "a bench cell runs no command; the kind of cell for it is command");
    return;
  }
  if (!node.is_map()) return read_words(node, stage);
  Fields fields(node, file_, "a command", diagnostics_);
  for (const char* name : kBesideRun) fields.get(name);  // read with the settings
  const Yaml* run = fields.require("run");
  const Yaml* env = fields.get("env");
  fields.finish();
  if (run) read_words(*run, stage);
  if (env) read_env(*env, stage);
}

void StageReader::read_words(const Yaml& run, Stage& stage) {
  if (!run.is_list() || run.items.empty()) {
    error(run,
          "command must be a list of words, [program, argument, …], which no shell takes apart, or a map with "
          "that list as 'run'; found " +
              (run.is_list() ? std::string("an empty list") : describe(run)));
    return;
  }
  for (const Yaml& item : run.items) {
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
    if (stage.command.empty())
      if (const auto why = why_not_program(item.text)) error(item, *why);
    check_placeholders(item, stage);
    stage.command.push_back(item.text);
  }
}

void StageReader::read_env(const Yaml& env, Stage& stage) {
  if (!env.is_map()) {
    error(env, "'env' must be a map of names and values, found " + describe(env));
    return;
  }
  for (const Yaml::Entry& entry : env.entries) {
    if (!read_variable(entry)) continue;
    if (entry.value.is_scalar()) check_placeholders(entry.value, stage);
    stage.env[entry.key] = entry.value.is_null() ? "" : entry.value.text;
  }
}

/// Whether the variable has a name and a value that a program can be given; an error if not.
bool StageReader::read_variable(const Yaml::Entry& entry) {
  const Yaml& value = entry.value;
  if (const auto why = why_not_variable(entry.key)) {
    diagnostics_.error({file_, entry.line, entry.column}, *why);
    return false;
  }
  if ((value.is_scalar() || value.is_null()) && value.text.size() <= kMostValue && !has_control(value.text))
    return true;
  error(value, "the value of " + quote(entry.key) + " must be a text of one line, at most " +
                   std::to_string(kMostValue) + " bytes; found " + describe(value));
  return false;
}

void StageReader::check_placeholders(const Yaml& item, const Stage& stage) {
  const auto parts = parse_argument(item.text);
  if (!parts) {
    error(item, parts.error().what);
    return;
  }
  for (const CommandPart& part : *parts)
    if (part.is_placeholder) check_placeholder(item, part.text, stage);
}

void StageReader::check_placeholder(const Yaml& item, const std::string& name, const Stage& stage) {
  const std::string prefix = "settings.";
  const auto facts = placeholder_names();
  if (name.starts_with(prefix)) return check_setting(item, name, name.substr(prefix.size()), stage);
  if (std::ranges::find(facts, name) != facts.end()) return check_fact(item, name, stage);
  if (find_setting(name) || is_given(name, stage)) return check_setting(item, name, name, stage);
  std::vector<std::string> names(facts.begin(), facts.end());
  for (const SettingDef& def : setting_defs())
    if (takes(def, stage.kind)) names.emplace_back(def.name);
  for (const auto& [own, values] : stage.settings) names.push_back(own);
  const auto near = nearest(name, names);
  error(item, "no placeholder {" + shown(name) + "}" +
                  (near ? "; did you mean {" + *near + "}?"
                        : "; there are {" + join({facts.begin(), facts.end()}, "}, {") +
                              "} and each setting of the stage by its name"));
}

/// A placeholder for a setting, as `{seed}` or `{settings.seed}`.
void StageReader::check_setting(const Yaml& item, const std::string& placeholder, const std::string& name,
                                const Stage& stage) {
  const std::string shown_name = "{" + shown(placeholder) + "}";
  const SettingDef* def = find_setting(name);
  const bool own = stage.kind == CellKind::kCommand && may_be_own_setting(name);
  if (def && takes(*def, stage.kind)) {
    if (stage.kind == CellKind::kCommand && name != "dtype" && !is_given(name, stage))
      error(item, shown_name + " stands for nothing: the stage does not set " + quote(name));
  } else if (!own) {
    error(item, shown_name + ": " +
                    why_not_taken(name, std::array{stage.kind}).value_or("that is not a setting of its cells"));
  } else if (!is_given(name, stage)) {
    error(item, shown_name + " stands for nothing: the stage does not set " + quote(name) +
                    (def ? "" : hint(name, std::vector<std::string>{"model", "task"})));
  }
  if (stage.kind != CellKind::kCommand || name != "dtype" || is_given(name, stage)) return;
  const auto said = [&](const char* key) { return stage.places.contains(key); };
  const auto own_model = std::ranges::find(stage.models, true, &Selector::own);
  if (!said("models") && !said("categories") && !said("adapter"))
    error(item, shown_name + " stands for nothing: the stage has no models and sets no 'dtype'");
  else if (own_model != stage.models.end())
    error(item, shown_name + " stands for nothing for " + quote(*own_model->name) +
                    ", a name of your own: the stage sets no 'dtype'");
}

/// A placeholder for what the cell is of.
void StageReader::check_fact(const Yaml& item, const std::string& name, const Stage& stage) {
  const std::string shown_name = "{" + name + "}";
  if (name == "adapter" && stage.adapter_of.empty())
    error(item, "{adapter} stands for nothing: the stage has no `adapter: STAGE`");
  if (stage.kind != CellKind::kCommand) return;
  const auto said = [&](const char* key) { return stage.places.contains(key); };
  const bool picks_models = said("models") || said("categories") || said("adapter");
  const bool picks_tasks = said("tasks") || said("categories");
  if ((name == "model" || name == "hf_id") && !picks_models)
    error(item, shown_name + " stands for nothing: the stage picks no models");
  if (name == "task" && !picks_tasks) error(item, "{task} stands for nothing: the stage picks no tasks");
  const auto own_model = std::ranges::find(stage.models, true, &Selector::own);
  if (name == "hf_id" && own_model != stage.models.end())
    error(item, "{hf_id} stands for nothing for " + quote(*own_model->name) +
                    ", a name of your own; {model} is the name itself");
}

}  // namespace orch::matrix
