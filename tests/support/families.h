// The small models of tests/model/data/families, one for each architecture.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/source_dir.h"

namespace orch::test {

inline std::filesystem::path family_folder(const std::string& name) {
  return source_dir() / "tests/model/data/families" / name;
}

inline std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(family_folder("")))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace orch::test
