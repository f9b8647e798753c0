// Where jobs run. Two ways: Slurm's commands, or this machine.
//
// Holds:
//  - A job goes by its name, which is never used twice. submit() of a name that the cluster has is never made.
//  - What cannot be known is said so (kUnclear, an error), never guessed: absence counts only in a look that succeeded.
//  - Calls block; the daemon makes them on a thread of their own. None takes longer than its timeout.
#pragma once

#include <chrono>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/event.h"

namespace orch::cluster {

struct JobToSubmit {
  std::string name;                 ///< `orch-<instance>-<number>`: --job-name and --comment
  std::filesystem::path script;     ///< rendered, in the job's directory
  std::filesystem::path directory;  ///< of the job: its log, its claim, its spool; the script's working directory
  std::vector<std::string> excluded_nodes;
};

/// An answer, or why there is none, and what that means for the job.
struct SubmitError {
  control::event::NotSubmitted::Why why = control::event::NotSubmitted::Why::kUnclear;
  std::string what;  ///< in the cluster's words and ours
};

class Cluster {
 public:
  virtual ~Cluster() = default;

  /// The cluster's id of the job.
  virtual Result<std::string, SubmitError> submit(const JobToSubmit& job) = 0;
  /// By id, or by name where the id is not known. SIGTERM first; harmless for jobs that are over.
  virtual Result<std::monostate> cancel(const std::string& name, const std::string& cluster_id) = 0;
  /// All jobs whose name begins with `prefix`, as far as the cluster still knows them.
  virtual Result<std::vector<control::event::Seen>> look(const std::string& prefix) = 0;
  /// How jobs ended that a look misses: accounting's word, then the controller's. Those that neither knows are left
  /// out; an error: nobody could be asked.
  virtual Result<std::vector<control::event::Seen>> history(std::span<const std::string> names) = 0;
  /// `slurm 22.05.8 (accounting)`, `this machine, 8 GPU slots`.
  virtual std::string describe() const = 0;
};

}  // namespace orch::cluster
