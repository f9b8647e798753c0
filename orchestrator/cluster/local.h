// This machine as a cluster: the scripts that Slurm would run, on as many GPU slots, CPUs and as much memory as there
// are, or as are pretended.
//
// Holds:
//  - A folder has one daemon at a time. Ids go up, and are never used twice in the life of the folder.
//  - Jobs run under supervisors of their own (local_supervisor.h) and outlive the daemon; waiting ones wait for the
//  next.
//  - A job starts when its GPUs, CPUs and memory are free, in the order of submission (local_queue.h).
// Thread-safe. A thread within starts jobs and sees them end.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/cluster.h"
#include "cluster/local_job.h"

namespace orch::cluster {

struct LocalRules {
  std::filesystem::path folder;         ///< for the jobs' files; on a local disk
  std::vector<std::string> slots;       ///< GPUs as CUDA_VISIBLE_DEVICES names them; pretended ones are `0`, `1`, …
  int cpus = 0;                         ///< 0: those of the machine
  std::int64_t memory = 0;              ///< bytes; 0: that of the machine
  std::vector<std::string> supervisor;  ///< a program that begins with supervisor_main(), and its first arguments
  std::chrono::milliseconds kill_wait = std::chrono::seconds(30);   ///< from SIGTERM to SIGKILL
  std::chrono::milliseconds poll = std::chrono::milliseconds(200);  ///< how often running jobs are looked at
  std::chrono::seconds shown_for = std::chrono::minutes(5);         ///< how long looks show jobs that are over
  std::size_t remembered = 10'000;                                  ///< jobs that are over, for history
};

class Local : public Cluster {
 public:
  static Result<std::unique_ptr<Local>> open(LocalRules rules);
  ~Local() override;

  Result<std::string, SubmitError> submit(const JobToSubmit& job) override;
  Result<std::monostate> cancel(const std::string& name, const std::string& cluster_id) override;
  Result<std::vector<control::event::Seen>> look(const std::string& prefix) override;
  Result<std::vector<control::event::Seen>> history(std::span<const std::string> names) override;
  std::string describe() const override;

 private:
  Local(LocalRules rules, FileLock lock);
  Result<std::monostate> load();
  Result<std::monostate> save(const LocalJob& job);
  LocalJob* find(const std::string& name, const std::string& cluster_id);
  void serve();
  /// Reads how running jobs stand.
  void refresh();
  void start_jobs();
  void start(LocalJob& job);
  void forget_old();
  std::vector<std::string> free_slots() const;

  LocalRules rules_;
  FileLock lock_;
  Room machine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::int64_t, LocalJob> jobs_;  ///< by id, so in the order of submission
  std::int64_t last_id_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace orch::cluster
