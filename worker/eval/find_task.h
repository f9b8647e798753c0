// Where a task's file is, given what a person calls it.
#pragma once

#include <filesystem>
#include <string>

#include "eval/task.h"

namespace orch::eval {

/// A file; or a name: NAME.yaml of the folder of data (empty: there is none), else of `shipped`, the tasks that come
/// with the program (empty: they were not found).
Result<Task> find_task(const std::string& named, const std::filesystem::path& data,
                       const std::filesystem::path& shipped);

}  // namespace orch::eval
