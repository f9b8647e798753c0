#include "orchd/retention.h"

#include <charconv>
#include <optional>
#include <string>

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

bool is_due(const std::optional<double>& kept, double age) { return kept && age >= *kept; }

bool is_real_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(fs::symlink_status(path, error));
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  if (!is_real_folder(folder)) return entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    entries.push_back(at->path());
  return entries;
}

void remove_file(const fs::path& path, Removed& removed) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  const std::uintmax_t size = fs::is_regular_file(status) ? fs::file_size(path, error) : 0;
  if (!fs::remove(path, error) || error) return;
  ++removed.files;
  removed.bytes += size;
}

/// The folder itself too.
void remove_tree(const fs::path& path, Removed& removed) {
  if (is_real_folder(path)) {
    for (const fs::path& entry : entries_of(path)) remove_tree(entry, removed);
    std::error_code error;
    fs::remove(path, error);
    return;
  }
  remove_file(path, removed);
}

void remove_if_empty(const fs::path& folder) {
  std::error_code error;
  if (is_real_folder(folder)) fs::remove(folder, error);  // fails where something is left
}

/// `12-34`: of cell 12.
std::optional<control::CellId> cell_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end == name.data() + name.size() || *end != '-') return std::nullopt;
  return control::CellId{number};
}

bool is_spool(const std::string& name) { return name.starts_with("spool.") || name == "mail"; }
bool is_log(const std::string& name) { return name.ends_with(".out") || name.ends_with(".err"); }
/// Of a training of the native engine.
bool is_made(const std::string& name) { return name == "adapter" || name == "model" || name == "curve.jsonl"; }

}  // namespace

Removed tidy_job_folder(const fs::path& folder, double age, const policy::Retention& retention,
                        const std::function<Kept(control::CellId)>& kept) {
  Removed removed;
  if (!is_real_folder(folder)) return removed;
  const bool logs = is_due(retention.logs, age), spools = is_due(retention.spools, age),
             samples = is_due(retention.samples, age), checkpoints = samples || is_due(retention.checkpoints, age);
  for (const fs::path& entry : entries_of(folder)) {
    const std::string name = entry.filename().string();
    if ((spools && is_spool(name)) || (logs && is_log(name))) remove_tree(entry, removed);
  }
  for (const fs::path& cell : entries_of(folder / "cells")) {
    const auto id = cell_of(cell);
    const Kept stays = id ? kept(*id) : Kept::kAll;
    for (const fs::path& entry : entries_of(cell)) {
      const std::string name = entry.filename().string();
      const bool may_go = stays == Kept::kNothing || (stays == Kept::kWhatItMade && !is_made(name));
      if (name == "log" ? logs : may_go && (name == "checkpoints" ? checkpoints : samples)) remove_tree(entry, removed);
    }
    remove_if_empty(cell);
  }
  remove_if_empty(folder / "cells");
  std::error_code error;
  if (logs && spools && samples && !fs::exists(fs::symlink_status(folder / "cells", error))) {
    remove_tree(folder, removed);
    removed.all = !fs::exists(fs::symlink_status(folder, error));
  }
  return removed;
}

}  // namespace orch::orchd
