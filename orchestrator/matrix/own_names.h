// Models and tasks that a matrix names and no catalog has: programs of the user's own know what they are.
#pragma once

#include "base/catalog.h"
#include "matrix/matrix.h"

namespace orch::matrix {

/// The catalog with the names that the matrix's commands pick and that it does not have: entries marked `own`, which
/// only the selector of that name picks. A matrix is expanded, planned and shown with this one.
Catalog with_own_names(const Matrix& matrix, Catalog catalog);

/// How many names of its own each stage picks, as notes: `stage 'x': 2 models and 1 task are names of this matrix …`.
std::vector<std::string> notes_on_own_names(const Matrix& matrix);

/// Where the matrix names something that neither the catalog nor with_own_names() holds; nothing if it does not.
std::optional<Place> missing_own_name(const Matrix& matrix, const Catalog& catalog);

}  // namespace orch::matrix
