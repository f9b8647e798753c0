#include "matrix/own_names.h"

#include <algorithm>

#include "base/text.h"

namespace orch::matrix {
namespace {

std::int64_t own_in(const std::vector<Selector>& selectors) {
  return std::ranges::count(selectors, true, &Selector::own);
}

}  // namespace

Catalog with_own_names(const Matrix& matrix, Catalog catalog) {
  for (const Stage& stage : matrix.stages) {
    for (const Selector& selector : stage.models) {
      if (!selector.own || catalog.models.find(*selector.name)) continue;
      Model model;
      model.name = *selector.name;
      model.kind = ModelKind::kOther;
      model.revision.clear();
      model.engines = {Engine::kCommand};
      model.source = selector.place;
      model.own = true;
      catalog.models.put(std::move(model));
    }
    for (const Selector& selector : stage.tasks) {
      if (!selector.own || catalog.tasks.find(*selector.name)) continue;
      Task task;
      task.name = *selector.name;
      task.type = name_of(CellKind::kCommand);
      task.revision.clear();
      task.source = selector.place;
      task.own = true;
      catalog.tasks.put(std::move(task));
    }
  }
  return catalog;
}

std::vector<std::string> notes_on_own_names(const Matrix& matrix) {
  std::vector<std::string> notes;
  for (const Stage& stage : matrix.stages) {
    const std::int64_t models = own_in(stage.models), tasks = own_in(stage.tasks);
    if (models + tasks == 0) continue;
    std::string text = matrix.stages.size() == 1 && stage.name == "main" ? "the matrix" : "stage " + quote(stage.name);
    text += ": ";
    if (models) text += counted(models, "model");
    if (models && tasks) text += " and ";
    if (tasks) text += counted(tasks, "task");
    text += models + tasks == 1 ? " is a name of this matrix" : " are names of this matrix";
    notes.push_back(text + ", of which the catalog knows nothing");
  }
  return notes;
}

std::optional<Place> missing_own_name(const Matrix& matrix, const Catalog& catalog) {
  for (const Stage& stage : matrix.stages) {
    for (const Selector& selector : stage.models)
      if (selector.own && !catalog.models.find(*selector.name)) return selector.place;
    for (const Selector& selector : stage.tasks)
      if (selector.own && !catalog.tasks.find(*selector.name)) return selector.place;
  }
  return std::nullopt;
}

}  // namespace orch::matrix
