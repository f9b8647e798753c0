#include "matrix/matrix.h"

#include "base/fields.h"
#include "base/text.h"
#include "matrix/outline.h"
#include "matrix/stage_reader.h"
#include "matrix/stages.h"

namespace orch::matrix {
namespace {

constexpr std::size_t kMostStages = 100;

CellKind read_kind(const Yaml* node, const std::string& file, Diagnostics& diagnostics) {
  if (!node) return CellKind::kEval;
  std::vector<std::string> words;
  for (const CellKind kind : kCellKinds) words.emplace_back(name_of(kind));
  if (node->is_scalar())
    if (const auto kind = cell_kind_named(node->text)) return *kind;
  diagnostics.error(place_of(*node, file), "'kind' must be one of " + join(words, ", ") + "; found " + describe(*node) +
                                               (node->is_scalar() ? hint(node->text, words) : ""));
  return CellKind::kEval;
}

Matrix read(const Yaml& root, const std::string& file, const Catalog& catalog, Diagnostics& diagnostics) {
  Matrix matrix;
  Fields fields(root, file, "a matrix", diagnostics);
  matrix.source = fields.place();
  fields.require("name");
  matrix.name = fields.name("name").value_or("");
  if (reads_as_id(matrix.name))
    fields.error("name", quote(matrix.name) +
                             " would be taken for the number of a sweep, a job or a cell; give a name "
                             "that is none");
  matrix.description = fields.text("description").value_or("");
  for (const char* key : {"kind", "models", "tasks", "categories", "exclude", "settings", "command", "lm_eval"})
    fields.get(key);
  if (const Yaml* submit = fields.get("submit")) matrix.submit = read_submit(*submit, file, diagnostics);
  const Yaml* stages = fields.get("stages");
  fields.finish();
  if (!root.is_map()) return matrix;

  if (!stages) {
    for (const char* key : {"adapter", "after"})
      if (const Yaml* node = root.find(key))
        diagnostics.error(place_of(*node, file), quote(key) + " refers to another stage, and there are no `stages`");
    const CellKind kind = read_kind(root.find("kind"), file, diagnostics);
    const Outline outline = outline_of(root, {kind}, catalog);
    matrix.stages.push_back(StageReader(outline, file, catalog, diagnostics).read("main", root, nullptr, kind));
    matrix.stages.front().place = matrix.source;
    return matrix;
  }
  if (!stages->is_map() || stages->entries.empty()) {
    diagnostics.error(place_of(*stages, file),
                      "stages must be a map from a stage's name to what it does; found " +
                          (stages->is_map() ? std::string("an empty map") : describe(*stages)));
    return matrix;
  }
  if (stages->entries.size() > kMostStages) {
    diagnostics.error(place_of(*stages, file), "at most " + std::to_string(kMostStages) + " stages, found " +
                                                   std::to_string(stages->entries.size()));
    return matrix;
  }
  std::vector<CellKind> kinds;
  for (const Yaml::Entry& entry : stages->entries)
    kinds.push_back(read_kind(inherit(entry.value, root, "kind").node, file, diagnostics));
  const Outline outline = outline_of(root, kinds, catalog);
  StageReader reader(outline, file, catalog, diagnostics);
  for (std::size_t i = 0; i < stages->entries.size(); ++i) {
    const Yaml::Entry& entry = stages->entries[i];
    if (!is_name(entry.key))
      diagnostics.error({file, entry.line, entry.column},
                        "a stage's name has letters, digits and _ . - : / +, and at most 200 of them");
    matrix.stages.push_back(reader.read(entry.key, entry.value, &root, kinds[i]));
    matrix.stages.back().place = {file, entry.line, entry.column};
  }
  check_links(matrix.stages, diagnostics);
  return matrix;
}

}  // namespace

const Place& Stage::place_of(const std::string& key) const {
  const auto found = places.find(key);
  return found == places.end() ? place : found->second;
}

std::optional<Matrix> read_matrix(const Yaml& root, const std::string& file, const Catalog& catalog,
                                  Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  Matrix matrix = read(root, file, catalog, diagnostics);
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
