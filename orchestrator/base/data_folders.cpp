#include "base/data_folders.h"

#include <cstdlib>
#include <string>

namespace orch {
namespace {

namespace fs = std::filesystem;

std::optional<DataFolders> shared_data(const fs::path& root) {
  if (!fs::is_directory(root / "catalog")) return std::nullopt;
  return DataFolders{root / "catalog", root / "policies", root / "templates",
                     root / "schemas", root / "examples", root / "tasks"};
}

std::optional<DataFolders> source_tree(const fs::path& root) {
  if (!fs::is_directory(root / "db" / "catalog") || !fs::is_directory(root / "policies")) return std::nullopt;
  return DataFolders{root / "db" / "catalog",   root / "policies", root / "templates",
                     root / "docs" / "schemas", root / "examples", root / "db" / "tasks"};
}

}  // namespace

std::optional<DataFolders> find_data(const fs::path& program) {
  if (const char* given = std::getenv("ORCH_DATA_DIR"); given && *given) return shared_data(given);
  std::error_code ignored;
  fs::path folder = fs::weakly_canonical(program, ignored).parent_path();
  for (int up = 0; up < 6 && folder.has_relative_path(); ++up, folder = folder.parent_path()) {
    if (auto found = shared_data(folder / "share" / "orch")) return found;
    if (auto found = source_tree(folder)) return found;
  }
  return std::nullopt;
}

}  // namespace orch
