// The questions of a task: a JSONL file, one object a line. Files are hostile input, read whole and bounded.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::eval {

/// A question with all that belongs to it: an object, in the order of its file.
using Document = nlohmann::ordered_json;

constexpr std::size_t kMostDocuments = 10'000'000;

/// Lines that are blank are passed over. `name` is what errors call the text.
Result<std::vector<Document>> parse_documents(std::string_view text, const std::string& name);

Result<std::vector<Document>> load_documents(const std::filesystem::path& file);

}  // namespace orch::eval
