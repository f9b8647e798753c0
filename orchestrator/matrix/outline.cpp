#include "matrix/outline.h"

#include <algorithm>

#include "base/text.h"
#include "matrix/command.h"
#include "matrix/stage_reader.h"

namespace orch::matrix {
namespace {

void add_names(const Yaml& word, std::set<std::string>& names) {
  if (!word.is_scalar()) return;
  const auto parts = parse_argument(word.text);
  if (!parts) return;
  constexpr std::string_view kPrefix = "settings.";
  for (const CommandPart& part : *parts)
    if (part.is_placeholder)
      names.insert(part.text.starts_with(kPrefix) ? part.text.substr(kPrefix.size()) : part.text);
}

/// The names that a list of models or tasks, or one entry, picks exactly and `known` does not hold.
template <class Known>
void add_unknown(const Yaml* node, const char* one, const Known& known, std::set<std::string>& names) {
  if (!node) return;
  const auto add = [&](const Yaml& name) {
    if (name.is_scalar() && name.text != "all" && !is_glob(name.text) && !known.find(name.text))
      names.insert(name.text);
  };
  const auto add_entry = [&](const Yaml& entry) {
    add(entry);
    for (const char* key : {"name", one})
      if (const Yaml* name = entry.is_map() ? entry.find(key) : nullptr) add(*name);
  };
  add_entry(*node);
  for (const Yaml& item : node->items) add_entry(item);
}

}  // namespace

std::set<std::string> named_in(const Yaml* command) {
  std::set<std::string> names;
  if (!command) return names;
  const Yaml* run = command->is_map() ? command->find("run") : command;
  if (run)
    for (const Yaml& word : run->items) add_names(word, names);
  const Yaml* env = command->is_map() ? command->find("env") : nullptr;
  if (env)
    for (const Yaml::Entry& entry : env->entries) add_names(entry.value, names);
  return names;
}

std::set<std::string> own_settings_in(const Yaml* command) {
  std::set<std::string> names = named_in(command);
  std::erase_if(names, [](const std::string& name) { return !may_be_own_setting(name); });
  return names;
}

bool may_be_own_setting(std::string_view name) {
  return is_setting_name(name) && is_own(name, CellKind::kCommand) && name != "engine" &&
         std::ranges::find(placeholder_names(), name) == placeholder_names().end();
}

Outline outline_of(const Yaml& root, std::vector<CellKind> kinds, const Catalog& catalog) {
  Outline outline;
  outline.kinds = std::move(kinds);
  const Yaml* map = root.find("stages");
  std::vector<const Yaml*> stages;
  if (map && map->is_map())
    for (const Yaml::Entry& entry : map->entries) stages.push_back(&entry.value);
  else if (!map)
    stages.push_back(&root);
  stages.resize(std::min(stages.size(), outline.kinds.size()));

  const auto only_commands = [&](const char* key) {
    bool any = false;
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const CellKind kind = outline.kinds[i];
      const bool picks = std::string_view(key) != "models" || kind != CellKind::kBench;
      if (!picks || (map && stages[i]->find(key))) continue;
      if (kind != CellKind::kCommand) return false;
      any = true;
    }
    return any;
  };
  outline.own_models = only_commands("models");
  outline.own_tasks = only_commands("tasks");
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (outline.kinds[i] != CellKind::kCommand) continue;
    const auto section = [&](const char* key, bool inheritable) -> const Yaml* {
      const Section found = map ? inherit(*stages[i], root, key) : Section{root.find(key), false};
      return found.inherited && !inheritable ? nullptr : found.node;
    };
    add_unknown(section("models", outline.own_models), "model", catalog.models, outline.models);
    add_unknown(section("tasks", outline.own_tasks), "task", catalog.tasks, outline.tasks);
    outline.told.merge(own_settings_in(section("command", true)));
  }
  return outline;
}

}  // namespace orch::matrix
