#include <set>

#include "matrix/expand.h"
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
    const auto expansion = matrix::expand(*matrix, shipped_catalog(), options, diagnostics);
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
      if (!expansion->cells.empty())
        promise(!matrix::canonical_content(*expansion, expansion->cells.back(), shipped_catalog()).empty(),
                "a cell has a content");
      for (const matrix::Rejection& row : expansion->rejected)
        promise(row.count > 0 && !row.reason.empty(), "a rejection has a count and a reason");
    }
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
