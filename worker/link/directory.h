// A job's directory, as its worker uses it: the fence, the last words, the attempts' folders.
//
// Holds:
//  - The first script that starts writes the cluster's id and a newline into `claim`, with O_EXCL; another one finds it
//    and leaves. templates/_prologue.sbatch does so before the worker is there; own() is the same again.
//  - `exit.json` is there whole or not at all: written aside, synced, renamed, and the folder synced.
//  - No path that comes from outside leads out of the directory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"

namespace orch::worker {

class JobDirectory {
 public:
  explicit JobDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }

  /// Nothing when the job is ours (again, after a requeue); else the id that owns it.
  Result<std::optional<std::string>> own(const std::string& cluster_id) const;

  Result<std::monostate> write_exit(const wire::Exit& exit) const;
  /// The last words, if there are any; an error: there are, and they cannot be read.
  Result<std::optional<wire::Exit>> read_exit() const;

  /// `spool.0`, `spool.1`: each start of the job writes a file of its own, because the copy before may still live.
  std::filesystem::path spool(int restarts) const;
  /// The spools of all starts, in their order.
  Result<std::vector<std::filesystem::path>> spools() const;

  /// The folder of an attempt, made: `cells/12-34`. An error if the name would lead elsewhere.
  Result<std::filesystem::path> attempt_folder(const std::string& relative) const;

 private:
  std::filesystem::path path_;
};

}  // namespace orch::worker
