// Where the files are that come with the programs: beside the installed program, or in the source tree it was built
// from.
#pragma once

#include <filesystem>
#include <optional>

namespace orch {

struct DataFolders {
  std::filesystem::path catalog, policies, templates, schemas, examples, tasks;
};

/// $ORCH_DATA_DIR, or beside the program, or the source tree above it.
std::optional<DataFolders> find_data(const std::filesystem::path& program);

}  // namespace orch
