#include <nlohmann/json.hpp>
#include <set>

#include "matrix/expand.h"
#include "matrix/own_names.h"
#include "matrix/run_line.h"
#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void matrix_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  std::optional<matrix::Matrix> matrix;
  if (root) matrix = matrix::read_matrix(*root, "input.yaml", shipped_catalog(), diagnostics);
  promise(matrix.has_value() == diagnostics.ok(), "there is a matrix, or an error");
  if (matrix) {
    matrix::ExpandOptions options;
    options.most_cells = 2'000;
    const Catalog catalog = matrix::with_own_names(*matrix, shipped_catalog());
    const auto expansion = matrix::expand(*matrix, catalog, options, diagnostics);
    promise(expansion.has_value() == diagnostics.ok(), "there are cells, or an error");
    if (expansion) {
      promise(expansion->cells.size() <= 2'000, "cells are bounded");
      std::set<Digest> keys;
      for (std::size_t i = 0; i < expansion->cells.size(); ++i) {
        const matrix::Cell& cell = expansion->cells[i];
        promise(keys.insert(cell.key).second, "no two cells have one key");
        promise(cell.depends == matrix::kNone || cell.depends < i, "a cell stands after the one it depends on");
        promise(cell.settings < expansion->settings.size() && cell.stage < expansion->stages.size(),
                "indices are in range");
      }
      if (!expansion->cells.empty()) {
        const matrix::Cell& cell = expansion->cells.back();
        const std::string content = matrix::canonical_content(*expansion, cell, catalog);
        promise(sha256(content) == cell.key, "a key is the SHA-256 of the content");
        const auto name = [](const auto& entries, std::uint32_t index) {
          return index == matrix::kNone ? std::string() : entries[index].name;
        };
        const auto line = matrix::run_line(content, canonical_json(matrix::to_json(expansion->settings[cell.settings])),
                                           name(catalog.models, cell.model), name(catalog.tasks, cell.task),
                                           "/job/cell/result.json", {1, "/job/adapter"});
        const bool native = content.find("\"engine\":{\"name\":\"native\"") != std::string::npos;
        promise(line.ok() || native, "what a worker runs for a cell is known");
      }
      for (const matrix::Rejection& row : expansion->rejected)
        promise(row.count > 0 && !row.reason.empty(), "a rejection has a count and a reason");
    }
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
