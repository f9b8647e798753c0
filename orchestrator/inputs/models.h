// Which weights the native engine would load: a branch of the hub is resolved to the commit that is in the cache, a
// folder to a digest of what is in it, so that other weights are other cells.
#pragma once

#include <filesystem>

#include "base/catalog.h"
#include "matrix/expand.h"

namespace orch::inputs {

/// Sets Model::resolved of the models that cells of the native engine load, where they can be seen from here; how many
/// that are. `cache`: the hub's. `known`: a file in which digests are remembered, by each file's path, size, times and
/// number, so that weights are read once; it is made, and may be removed at any time.
std::size_t look_at_models(const matrix::Expansion& expansion, Catalog& catalog, const std::filesystem::path& cache,
                           const std::filesystem::path& known);

}  // namespace orch::inputs
