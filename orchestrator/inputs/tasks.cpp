#include "inputs/tasks.h"

#include <set>

#include "matrix/content.h"
#ifdef ORCH_EVAL
#include "eval/find_task.h"
#include "eval/task_content.h"
#endif

namespace orch::inputs {
namespace {

Result<bool> look_at(Task& task, const std::filesystem::path& data, const DataFolders& shipped) {
#ifdef ORCH_EVAL
  const auto file = eval::find_task(task.name, data, shipped.tasks);
  if (!file) return file.error();
  const auto content = eval::content_of(*file, data);
  if (!content) return content.error();
  if (content->samples == 0) return Error{"there is no question in the data of " + task.name};
  task.digest = content->digest;
  task.samples = static_cast<double>(content->samples);
  return true;
#else
  return Error{"this program was built without PCRE2, which tasks of the native engine need"};
#endif
}

}  // namespace

std::size_t look_at_tasks(const matrix::Expansion& expansion, Catalog& catalog, const std::filesystem::path& data,
                          const DataFolders& shipped) {
  std::set<std::uint32_t> tasks;
  for (const matrix::Cell& cell : expansion.cells)
    if (cell.kind == matrix::CellKind::kEval &&
        matrix::engine_of(expansion.settings[cell.settings], cell.kind) == Engine::kNative)
      tasks.insert(cell.task);
  for (const std::uint32_t number : tasks) {
    Task& task = catalog.tasks[number];
    if (auto looked = look_at(task, data, shipped); !looked) task.unasked = looked.error().what;
  }
  return tasks.size();
}

}  // namespace orch::inputs
