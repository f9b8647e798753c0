// A job on this machine as it stands in its file, which the daemon and the job's supervisor write in turn.
//
// Holds:
//  - A file is replaced as a whole: written beside, fsynced, renamed. A reader sees the old one or the new one.
//  - The daemon writes it while the job waits; once a supervisor holds the job's lock, only that one does.
//  - Who finds a job running and its lock free has found one whose supervisor died.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/cluster.h"
#include "cluster/local_queue.h"

namespace orch::cluster {

struct LocalJob {
  std::int64_t id = 0;
  std::string name;
  std::string script, directory;  ///< absolute paths
  Room room;
  int ntasks = 1, cpus_per_task = 1;
  std::int64_t limit = 0;  ///< seconds; 0: none
  int signal = 0;          ///< before the limit; 0: none
  std::int64_t signal_before = 60;
  bool signal_script_only = false;
  std::string output, error;  ///< absolute paths; error is empty: as output

  std::string state = "PENDING";  ///< in Slurm's words
  std::vector<std::string> slots;
  std::int64_t started = 0, ended = 0;  ///< seconds since 1970
  int exit_code = 0, exit_signal = 0;
  pid_t supervisor = 0;

  bool is_pending() const { return state == "PENDING"; }
  bool is_running() const { return state == "RUNNING"; }
  bool is_over() const { return !is_pending() && !is_running(); }
};

/// Reads what a script asks for. A mistake: this machine cannot run it so.
Result<LocalJob, SubmitError> local_job_of(const JobToSubmit& job, std::string_view script, std::int64_t id);

std::string to_json(const LocalJob& job);
Result<LocalJob> local_job_from_json(std::string_view text);

/// Where the files of a job lie in the folder of the cluster.
std::filesystem::path job_file(const std::filesystem::path& folder, std::int64_t id);
std::filesystem::path lock_file(const std::filesystem::path& folder, std::int64_t id);

Result<LocalJob> read_job_file(const std::filesystem::path& path);
/// Whole and on the disk when it returns.
Result<std::monostate> write_file(const std::filesystem::path& path, std::string_view text);

/// A file's lock, held until the object or the process ends. None: somebody else holds it.
class FileLock {
 public:
  static std::optional<FileLock> take(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace orch::cluster
