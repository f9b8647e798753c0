#include "eval/task_content.h"

#include <sstream>

#include "base/digest.h"
#include "base/text.h"
#include "base/yaml.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostBytes = std::size_t{4} << 30;

Result<std::string> text_of(const Task& task, const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored))
    return Error{"the data of task " + quote(task.name) + " is not there: " + file.string() + " (scripts/import-data " +
                 task.name + " makes it)"};
  Diagnostics diagnostics;
  auto text = read_file(file, kMostBytes, diagnostics);
  if (text) return *std::move(text);
  std::ostringstream why;
  diagnostics.print(why);
  return Error{std::string(trim(why.str()))};
}

std::uint64_t lines_of(std::string_view text) {
  std::uint64_t lines = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines += !trim(text.substr(0, end)).empty();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

Result<TaskContent> content_of(const Task& task, const std::filesystem::path& folder) {
  const auto data = text_of(task, folder / task.data);
  if (!data) return data.error();
  TaskContent content;
  content.samples = lines_of(*data);
  std::string says = task.digest + "\n" + to_hex(sha256(*data)) + "\n";
  if (!task.shots.file.empty()) {
    const auto shots = text_of(task, folder / task.shots.file);
    if (!shots) return shots.error();
    says += to_hex(sha256(*shots)) + "\n";
  }
  content.digest = to_hex(sha256(says));
  return content;
}

}  // namespace orch::eval
