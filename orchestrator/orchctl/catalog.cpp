// orchctl models, tasks, profiles: what can be named in a matrix, and which file a fact came from.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"
#include "orchctl/load.h"
#include "report/catalog_report.h"

namespace orch::orchctl {
namespace {

struct Filter {
  std::string name;  ///< exact or a pattern
  std::string family, category, group, kind;
};

/// `value` must be among `known`; a filter that can match nothing is a slip of the hand, not an empty answer.
std::optional<std::string> unknown_value(const char* what, const std::string& value, std::vector<std::string> known) {
  std::ranges::sort(known);
  known.erase(std::unique(known.begin(), known.end()), known.end());
  if (value.empty() || std::ranges::find(known, value) != known.end()) return std::nullopt;
  return std::string("no ") + what + " " + quote(value) + hint_sentence(value, known) + " Known are " + join(known, ", ") + ".";
}

template <class T>
std::optional<std::string> unknown_name(const char* what, const std::string& name, const Named<T>& known) {
  const std::vector<std::string> names = known.names();
  if (name.empty() || known.find(name)) return std::nullopt;
  if (is_glob(name)) {
    if (std::ranges::any_of(names, [&](const std::string& other) { return glob_match(name, other); }))
      return std::nullopt;
    return std::string("no ") + what + " matches " + quote(name);
  }
  return std::string("no ") + what + " " + quote(name) + hint(name, names) + " (orchctl " + what + "s lists all " +
         std::to_string(names.size()) + ")";
}

/// One entry named exactly is shown whole; anything else is a table.
template <class T, class ToJson, class Print>
int show(Session& session, const std::string& name, const std::vector<const T*>& picked, const ToJson& to_json,
         const Print& print) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const T* entry : picked) list.push_back(to_json(*entry));
  if (session.json)
    print_json(session, list);
  else if (!name.empty() && !is_glob(name) && list.size() == 1)
    report::print_entry(session.out, session.style, list[0]);
  else
    print(picked);
  return kWell;
}

int models(Session& session, const Filter& filter) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  for (const auto& problem :
       {unknown_name("model", filter.name, catalog.models), unknown_value("family", filter.family, catalog.families()),
        unknown_value("category", filter.category, catalog.categories.names())})
    if (problem) return bad_input(session, *problem);
  std::vector<const Model*> picked;
  for (const Model& model : catalog.models.all()) {
    const auto categories = catalog.categories_of_model(model.name);
    if ((filter.name.empty() || glob_match(filter.name, model.name)) &&
        (filter.family.empty() || model.family == filter.family) &&
        (filter.category.empty() || std::ranges::find(categories, filter.category) != categories.end()))
      picked.push_back(&model);
  }
  return show<Model>(
      session, filter.name, picked, [&](const Model& model) { return report::to_json(model, catalog); },
      [&](const auto& list) {
        report::print_models(session.out, session.style, list);
        session.out << counted(static_cast<long long>(list.size()), "model") << "\n";
      });
}

int tasks(Session& session, const Filter& filter) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  std::vector<std::string> groups, kinds;
  for (const Task& task : catalog.tasks.all()) {
    groups.push_back(task.group);
    kinds.emplace_back(name_of(task.kind));
  }
  for (const auto& problem : {unknown_name("task", filter.name, catalog.tasks),
                              unknown_value("group", filter.group, groups), unknown_value("kind", filter.kind, kinds),
                              unknown_value("category", filter.category, catalog.categories.names())})
    if (problem) return bad_input(session, *problem);
  std::vector<const Task*> picked;
  for (const Task& task : catalog.tasks.all()) {
    const auto categories = catalog.categories_of_task(task.name);
    if ((filter.name.empty() || glob_match(filter.name, task.name)) &&
        (filter.group.empty() || task.group == filter.group) &&
        (filter.kind.empty() || name_of(task.kind) == filter.kind) &&
        (filter.category.empty() || std::ranges::find(categories, filter.category) != categories.end()))
      picked.push_back(&task);
  }
  return show<Task>(
      session, filter.name, picked, [&](const Task& task) { return report::to_json(task, catalog); },
      [&](const auto& list) {
        report::print_tasks(session.out, session.style, list);
        session.out << counted(static_cast<long long>(list.size()), "task") << "\n";
      });
}

int profiles(Session& session, const std::string& what) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  const auto list = [&](const auto& named) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const auto& entry : named.all()) json.push_back(report::to_json(entry));
    print_json(session, json);
    return kWell;
  };
  if (what == "gpus") {
    if (session.json) return list(catalog.gpus);
    report::print_gpus(session.out, session.style, catalog);
  } else if (what == "categories") {
    if (session.json) return list(catalog.categories);
    report::print_categories(session.out, session.style, catalog);
  } else {
    if (session.json) return list(catalog.profiles);
    report::print_profiles(session.out, session.style, catalog);
  }
  return kWell;
}

}  // namespace

void add_catalog(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* models_command = add_command(app, session, "models", "list the models of the catalog, or show one",
                                         "orchctl models --family llama\n  orchctl models deepseek_v3");
  auto filter = std::make_shared<Filter>();
  models_command->add_option("name", filter->name, "one model, or a pattern such as 'qwen*'")->type_name("NAME");
  models_command->add_option("--family", filter->family, "only this family")->type_name("F");
  models_command->add_option("--category", filter->category, "only this category")->type_name("C");
  models_command->callback(
      [&session, &chosen, filter] { chosen = [&session, filter] { return models(session, *filter); }; });

  CLI::App* tasks_command = add_command(app, session, "tasks", "list the tasks of the catalog, or show one",
                                        "orchctl tasks --group mathematical_reasoning\n  orchctl tasks gsm8k");
  tasks_command->add_option("name", filter->name, "one task, or a pattern such as 'm*'")->type_name("NAME");
  tasks_command->add_option("--group", filter->group, "only this group")->type_name("G");
  tasks_command->add_option("--kind", filter->kind, "only this kind")->type_name("K");
  tasks_command->add_option("--category", filter->category, "only this category")->type_name("C");
  tasks_command->callback(
      [&session, &chosen, filter] { chosen = [&session, filter] { return tasks(session, *filter); }; });

  const auto add_list = [&](const std::string& name, const std::string& help) {
    CLI::App* command = add_command(app, session, name, help, "orchctl " + name + " --json");
    command->callback([&session, &chosen, name] { chosen = [&session, name] { return profiles(session, name); }; });
  };
  add_list("profiles", "list the shapes that a job may have");
  add_list("categories", "list the categories of models and tasks");
  add_list("gpus", "list the GPUs that are known");
}

}  // namespace orch::orchctl
