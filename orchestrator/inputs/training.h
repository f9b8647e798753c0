// What trainings of the native engine would learn from: data sets, and the files that completions are rewarded by,
// looked at before anything is submitted, so that no job waits in the queue for rows that cannot be read.
#pragma once

#include <filesystem>

#include "base/catalog.h"
#include "base/diagnostics.h"
#include "matrix/expand.h"

namespace orch::inputs {

/// Sets Task::files of the tasks that cells of the native engine train on, for each pair of data and reward; how many
/// pairs there are. What is not there is said there; a file that is there and wrong is an error for each of its bad
/// rows, and each row that lacks what the rules ask for. `data`: the folder of data. `known`: a file in which digests
/// are remembered, as by look_at_models().
std::size_t look_at_training(const matrix::Expansion& expansion, Catalog& catalog, const std::filesystem::path& data,
                             const std::filesystem::path& known, Diagnostics& diagnostics);

}  // namespace orch::inputs
