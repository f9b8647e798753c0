// Data as scripts/import-data makes it, and what was recorded of lm-evaluation-harness.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

#include "eval/task.h"
#include "support/source_dir.h"
#include "support/temporary.h"
#include "support/test_data.h"

namespace orch::test {

/// The folder that scripts/import-data fills from one of data sets, once for all tests of the program.
inline const std::filesystem::path& imported(const std::filesystem::path& from) {
  static std::map<std::filesystem::path, std::unique_ptr<TemporaryFolder>> folders;
  auto& folder = folders[from];
  if (!folder) {
    folder = std::make_unique<TemporaryFolder>();
    const std::string command = "'" + (source_dir() / "scripts/import-data").string() + "' --from '" + from.string() +
                                "' --to '" + folder->path().string() + "' >/dev/null";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
  }
  return folder->path();
}

inline const std::filesystem::path& imported_rows() { return imported(source_dir() / "tests/eval/data/rows"); }
inline const std::filesystem::path& imported_data() { return imported(test_data() / "tasks"); }

inline nlohmann::ordered_json recorded(const std::string& name) {
  std::ifstream file(source_dir() / "tests/eval/data" / name);
  return nlohmann::ordered_json::parse(file);
}

/// A task that ships.
inline eval::Task shipped_task(const std::string& name) {
  Diagnostics diagnostics;
  const auto task = eval::load_task(source_dir() / "db/tasks" / (name + ".yaml"), diagnostics);
  if (task) return *task;
  std::ostringstream shown;
  diagnostics.print(shown);
  throw std::runtime_error("the task " + name + " has errors:\n" + shown.str());
}

}  // namespace orch::test
