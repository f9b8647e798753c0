// Files and tokenizers of these tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "model/tokenizer/tokenizer.h"
#include "support/source_dir.h"

namespace orch::test {

inline std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json json_file(const std::filesystem::path& path) { return nlohmann::json::parse(contents(path)); }

inline const nlohmann::json& small_tokenizers() {
  static const nlohmann::json kSmall = json_file(source_dir() / "tests/tokenizer/data/small.json");
  return kSmall;
}

/// The text of the tokenizer.json of one of the small tokenizers.
inline nlohmann::json small_document(const std::string& name) {
  nlohmann::json document = small_tokenizers().at("tokenizers").at(name);
  nlohmann::json model = small_tokenizers().at("models").at(document.at("model").get<std::string>());
  model.update(document.at("options"));
  document.erase("options");
  document["model"] = std::move(model);
  document["version"] = "1.0";
  return document;
}

inline tokenizer::Tokenizer parsed(const nlohmann::json& document) {
  auto read = tokenizer::Tokenizer::parse(document.dump(), "tokenizer.json");
  if (!read) throw std::runtime_error(read.error().what);
  return std::move(*read);
}

inline tokenizer::Tokenizer opened(const std::filesystem::path& folder) {
  auto read = tokenizer::Tokenizer::open(folder);
  if (!read) throw std::runtime_error(read.error().what);
  return std::move(*read);
}

}  // namespace orch::test
