#include "eval/find_task.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "base/text.h"

namespace orch::eval {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

Result<fs::path> find_file(const std::string& named, const fs::path& data, const fs::path& shipped) {
  std::error_code ignored;
  if (fs::is_regular_file(named, ignored)) return fs::path(named);
  if (named.find('/') == std::string::npos) {
    const std::string name = named + ".yaml";
    if (!data.empty() && fs::exists(data / name, ignored)) return data / name;
    if (shipped.empty())
      return Error{"there is no file " + shown(named) + ", and no folder of tasks (ORCH_DATA_DIR names it)"};
    if (fs::exists(shipped / name, ignored)) return shipped / name;
    const std::vector<std::string> names = names_in(shipped);
    return Error{"there is no file and no task " + quote(named) + hint(named, names) + "; there are " +
                 join(names, ", ")};
  }
  return Error{"there is no file " + shown(named)};
}

}  // namespace

Result<Task> find_task(const std::string& named, const fs::path& data, const fs::path& shipped) {
  const auto file = find_file(named, data, shipped);
  if (!file) return file.error();
  Diagnostics diagnostics;
  auto task = load_task(*file, diagnostics);
  if (task && diagnostics.ok()) return *std::move(task);
  std::ostringstream text;
  diagnostics.print(text);
  return Error{std::string(trim(text.str()))};
}

}  // namespace orch::eval
