// What the native engine would ask: the files of the tasks that a plan has cells of, looked at before anything is
// submitted, so that a job does not wait in the queue for data that is not there.
#pragma once

#include <filesystem>

#include "base/catalog.h"
#include "base/data_folders.h"
#include "matrix/expand.h"

namespace orch::inputs {

/// Sets digest, samples and unasked of the tasks that cells of the native engine evaluate; how many there are. `data`:
/// the folder of questions.
std::size_t look_at_tasks(const matrix::Expansion& expansion, Catalog& catalog, const std::filesystem::path& data,
                          const DataFolders& shipped);

}  // namespace orch::inputs
