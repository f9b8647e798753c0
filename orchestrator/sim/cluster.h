// A simulated Slurm: nodes with GPUs, a queue, time limits, failures, preemption, accounting that comes and goes.
//
// Holds: a job holds its nodes' GPUs from its start to its end, never more than there are.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/event.h"
#include "sim/clock.h"

namespace orch::sim {

/// How often things go wrong.
struct ClusterFaults {
  double submit_fails = 0;    ///< the controller is away: try later
  double submit_unclear = 0;  ///< the answer is lost; the job may be there or not
  double look_fails = 0;
  double node_fails_a_day = 0;  ///< each node
  double preempts_a_day = 0;
  double cancels_a_day = 0;  ///< by an administrator's hand
  bool accounting = true;
  Time forgets_after = 5 * kMinute;  ///< MinJobAge: squeue knows ended jobs no longer than this
};

class Cluster {
 public:
  struct JobSpec {
    std::string name;
    int nodes = 1;
    double gpus = 0;  ///< over all nodes
    int cpus = 1;
    Time time_limit = kHour;
    std::vector<std::string> excluded;
  };
  /// What the machine does with a job: starts its script, signals it, kills it.
  struct Machine {
    std::function<void(const std::string& name, const std::string& id, int restarts, std::vector<std::string> nodes,
                       Time limit)>
        start;
    std::function<void(const std::string& id)> signal;  ///< the time limit is near, or it is preempted
    std::function<void(const std::string& id)> kill;
  };

  Cluster(Clock& clock, Random& random, int nodes, int gpus, int cpus, ClusterFaults faults, Machine machine);

  std::string submit(const JobSpec& spec);
  /// By name; jobs that are over stay over.
  void cancel(const std::string& name, bool by_hand);
  /// Its script has ended of itself.
  void ended(const std::string& id, bool well);

  std::vector<control::event::Seen> look() const;
  std::vector<control::event::Seen> history(const std::vector<std::string>& names) const;

  std::size_t alive() const;
  const ClusterFaults& faults() const { return faults_; }
  void stop_faults() { faults_ = quiet_; }
  /// What was asked: to bound it.
  std::uint64_t submissions = 0, looks = 0;

 private:
  enum class State { kPending, kRunning, kOver };
  struct Job {
    JobSpec spec;
    std::string id;
    State state = State::kPending;
    control::End end = control::End::kDone;
    std::vector<std::size_t> on;
    int restarts = 0;
    int run = 0;  ///< counts starts: timers of an earlier one do nothing
    Time over_at = 0;
  };
  struct Node {
    double free_gpus = 0;
    int free_cpus = 0;
    bool up = true;
  };

  void schedule();
  void start(Job& job, std::vector<std::size_t> on);
  void finish(Job& job, control::End end);
  void requeue(Job& job);
  void free_nodes(Job& job);
  void misfortune();
  std::string node_name(std::size_t i) const { return "n" + std::to_string(i + 1); }
  control::event::Seen seen(const Job& job) const;

  Clock& clock_;
  Random& random_;
  ClusterFaults faults_;
  ClusterFaults quiet_;
  Machine machine_;
  int gpus_, cpus_;
  std::vector<Node> nodes_;
  std::map<std::string, Job> jobs_;  ///< by id
  std::uint64_t next_ = 1000;
};

}  // namespace orch::sim
