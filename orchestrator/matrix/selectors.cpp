#include "matrix/selectors.h"

#include <algorithm>

#include "base/fields.h"
#include "base/text.h"

namespace orch::matrix {
namespace {

bool name_fits(const Selector& selector, const std::string& name) {
  return !selector.name || (is_glob(*selector.name) ? glob_match(*selector.name, name) : *selector.name == name);
}

bool in_category(const Selector& selector, const Catalog& catalog, std::vector<std::string> Category::*members,
                 const std::string& name) {
  if (!selector.category) return true;
  const Category* category = catalog.categories.find(*selector.category);
  return category && std::ranges::find(category->*members, name) != (category->*members).end();
}

template <class Entries, class Fits>
std::vector<std::uint32_t> pick(const Entries& entries, Fits fits) {
  std::vector<std::uint32_t> picked;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (fits(entries[i])) picked.push_back(static_cast<std::uint32_t>(i));
  return picked;
}

}  // namespace

bool Selector::is_exact() const { return name && !is_glob(*name); }

bool picks(const Selector& selector, const Model& model, const Catalog& catalog) {
  if (model.own || selector.own) return model.own && selector.own && *selector.name == model.name;
  return name_fits(selector, model.name) && in_category(selector, catalog, &Category::models, model.name) &&
         (!selector.family || *selector.family == model.family) &&
         (!selector.kind || *selector.kind == name_of(model.kind)) &&
         (!selector.min_params || model.params >= *selector.min_params) &&
         (!selector.max_params || model.params <= *selector.max_params);
}

bool picks(const Selector& selector, const Task& task, const Catalog& catalog) {
  if (task.own || selector.own) return task.own && selector.own && *selector.name == task.name;
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

Axes category_axes(const Category& category, CellKind kind, Diagnostics& diagnostics) {
  Axes axes;
  for (const auto& [name, node] : category.settings) {
    if (auto why = why_not_taken(name, kCellKinds)) {
      diagnostics.error(place_of(node, category.source.file), "category " + quote(category.name) + ": " + *why);
      continue;
    }
    const SettingDef& def = *find_setting(name);
    auto values = read_axis(def, node, category.source.file, diagnostics);
    if (kind == CellKind::kBench) std::erase_if(values, [&](const auto& value) { return !is_for_bench(def, value); });
    if (takes(def, kind) && !values.empty()) axes[name] = std::move(values);
  }
  if (auto why = why_not_lengths(axes))
    diagnostics.error(category.source, "category " + quote(category.name) + ": " + *why);
  return axes;
}

void check_category_settings(const Catalog& catalog, Diagnostics& diagnostics) {
  for (const Category& category : catalog.categories.all())
    for (const CellKind kind : kCellKinds) category_axes(category, kind, diagnostics);
}

std::optional<std::string> why_not_lengths(const Axes& axes) {
  if (!axes.contains("epochs") || !axes.contains("steps")) return std::nullopt;
  return "'epochs' and 'steps' both say how long training lasts: give one of them";
}

}  // namespace orch::matrix
