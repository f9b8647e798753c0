// Where a model's files are, given what a person calls it.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace orch::native {

/// A folder; or `org/name` or `org/name@revision` of the hub's cache on this machine; or a name of the catalog, which
/// says which of these. An error says what was looked for, and where.
Result<std::filesystem::path> find_model(const std::string& named, const std::filesystem::path& program);

/// A folder, or what the hub's cache on this machine has of a repository at a revision.
Result<std::filesystem::path> locate_model(const std::string& folder_or_id, const std::string& revision);

}  // namespace orch::native
