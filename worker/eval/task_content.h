// What a task asks, as one number: of its file and of the files that its questions are in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "eval/task.h"

namespace orch::eval {

struct TaskContent {
  std::string digest;         ///< SHA-256, hexadecimal
  std::uint64_t samples = 0;  ///< lines of its data that are not blank
};

/// `folder`: of data. An error names the file that is not there, and what makes it.
Result<TaskContent> content_of(const Task& task, const std::filesystem::path& folder);

}  // namespace orch::eval
