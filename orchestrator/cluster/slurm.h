// Slurm, through its five commands: sbatch, squeue, sacct, scontrol, scancel. docs/slurm.md tells what is asked when.
//
// Holds:
//  - Every command goes through one token bucket, has a time in which it must answer and a bound on what it may print.
//  - While the controller does not answer, it is asked ever less often; only cancellations do not wait for that.
//  - Works without accounting: whether there is any is found out by asking, and asked again later.
//  - A cluster id counts only together with the job's name: Slurm gives ids out again.
// Thread-safe; its calls wait for one another.
#pragma once

#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "cluster/cluster.h"
#include "cluster/pace.h"
#include "cluster/process.h"

namespace orch::cluster {

struct SlurmRules {
  std::chrono::milliseconds submit_patience = std::chrono::seconds(60);
  std::chrono::milliseconds patience = std::chrono::seconds(30);  ///< with every other command
  std::size_t most_output = 64u << 20;                            ///< bytes; 100,000 jobs are about 20 MiB
  double commands_at_once = 10;
  double commands_per_second = 1;
  std::chrono::milliseconds pause = std::chrono::seconds(5);  ///< after a command that failed, doubled each time
  std::chrono::milliseconds longest_pause = std::chrono::minutes(5);
  std::chrono::milliseconds accounting_again = std::chrono::minutes(10);  ///< after it was found switched off
  std::chrono::hours history_reach = std::chrono::hours(24 * 30);         ///< how far back accounting is asked
};

class Slurm : public Cluster {
 public:
  explicit Slurm(SlurmRules rules = {});

  Result<std::string, SubmitError> submit(const JobToSubmit& job) override;
  Result<std::monostate> cancel(const std::string& name, const std::string& cluster_id) override;
  Result<std::vector<control::event::Seen>> look(const std::string& prefix) override;
  Result<std::vector<control::event::Seen>> history(std::span<const std::string> names) override;
  std::string describe() const override;

 private:
  enum class Accounting { kNotAsked, kWorks, kOff, kAway };
  using Answer = Result<Output, RunError>;
  using Jobs = std::vector<control::event::Seen>;

  /// Runs a command when the bucket lets it. What failed for want of an answer makes `pace` wait.
  Answer ask(Backoff& pace, const std::vector<std::string>& argv, std::chrono::milliseconds patience,
             const std::vector<std::string>& variables = {}) const;
  /// Accounting's word on how jobs ended. An error: it could not be had, and may be had later. Switched off: no job.
  Result<Jobs> ask_accounting(std::span<const std::string> names);
  Result<Jobs> ask_accounting_of(std::span<const std::string> names);
  Result<Jobs> ask_queue(const std::string& prefix, std::span<const std::string> names);
  /// The controller's word on jobs that accounting says nothing of.
  Result<Jobs> ask_controller(std::span<const std::string> names);

  SlurmRules rules_;
  std::string user_;  ///< our account, as a number: it is known even where names are not
  mutable std::mutex mutex_;
  mutable TokenBucket bucket_;
  mutable Backoff controller_;
  Backoff accountant_;
  mutable std::mt19937_64 random_{std::random_device{}()};
  mutable std::string version_;
  Accounting accounting_ = Accounting::kNotAsked;
  Moment accounting_asked_{};
};

/// sbatch's argument vector, for a script with those directives.
std::vector<std::string> submit_arguments(const JobToSubmit& job, std::string_view script);

}  // namespace orch::cluster
