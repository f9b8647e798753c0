// Where the files are that trainings of the native engine learn from: said by whole paths, or found in the folder of
// data by name. Who plans a training and who hands it to a worker look in the same places.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace orch {

/// The data set of a training: `said` (its setting `data`), else what is there for the task or its Hugging Face id. A
/// name NAME is DATA/NAME, DATA/NAME.jsonl or DATA/NAME.json, a task TASK DATA/TASK.jsonl or DATA/TASK.json.
Result<std::filesystem::path> find_training_data(const std::string& said, const std::string& task,
                                                 const std::string& hf_id, const std::filesystem::path& data);

/// What completions are rewarded by (the setting `reward`): DATA/NAME, DATA/NAME.yaml or DATA/NAME.yml.
Result<std::filesystem::path> find_reward(const std::string& said, const std::filesystem::path& data);

}  // namespace orch
