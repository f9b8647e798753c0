// Task files of lm-evaluation-harness, as far as they are data. What calls Python is refused.
#pragma once

#include <filesystem>
#include <optional>

#include "base/diagnostics.h"
#include "base/yaml.h"
#include "eval/task.h"

namespace orch::eval {

/// Whether a file is one of lm-evaluation-harness's: it has a key that only those have.
bool is_harness_task(const Yaml& root);

/// Reads a task whose `include`s are put together already. Its data is a JSONL file of the data folder: that of
/// `dataset_kwargs.data_files`, or `DATASET/NAME/SPLIT.jsonl`.
std::optional<Task> read_harness_task(const Yaml& root, const std::string& file, Diagnostics& diagnostics);

/// Reads a file with all that it includes.
std::optional<Task> load_harness_task(const std::filesystem::path& file, Diagnostics& diagnostics);

}  // namespace orch::eval
