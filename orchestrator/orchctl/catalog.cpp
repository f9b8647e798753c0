// orchctl models, tasks, profiles: what can be named in a matrix, and which file a fact came from.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"
#include "orchctl/load.h"
#include "report/catalog_report.h"

namespace orch::orchctl {
namespace {

/// `value` must be among `known`; a filter that can match nothing is a slip of the hand, not an empty answer.
std::optional<std::string> unknown_value(const char* what, const std::string& value, std::vector<std::string> known) {
  std::ranges::sort(known);
  known.erase(std::unique(known.begin(), known.end()), known.end());
  if (value.empty() || std::ranges::find(known, value) != known.end()) return std::nullopt;
  return std::string("no ") + what + " " + quote(value) + hint_sentence(value, known) + " Known are " +
         join(known, ", ") + ".";
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

/// A whole list: JSON, or the table that `print` makes.
template <class T, class Print>
int list(Session& session, Named<T> Catalog::*entries, const Print& print) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  if (!session.json) {
    print(session.out, session.style, catalog);
    return kWell;
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const T& entry : (catalog.*entries).all()) json.push_back(report::to_json(entry));
  print_json(session, json);
  return kWell;
}

}  // namespace

int models(Session& session, const CatalogFilter& filter) {
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

int tasks(Session& session, const CatalogFilter& filter) {
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

int profiles(Session& session) { return list(session, &Catalog::profiles, report::print_profiles); }

int categories(Session& session) { return list(session, &Catalog::categories, report::print_categories); }

int gpus(Session& session) { return list(session, &Catalog::gpus, report::print_gpus); }

}  // namespace orch::orchctl
