// The thread that speaks with the cluster: submits, cancels, looks, asks how jobs ended.
//
// Holds:
//  - The cluster is looked at only while there are jobs that are not over, and at the pace of cluster/pace.h.
//  - Nothing else waits for the cluster.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "cluster/cluster.h"
#include "cluster/pace.h"
#include "control/event.h"
#include "control/job.h"

namespace orch::orchd {

class ClusterDesk {
 public:
  struct Options {
    std::string prefix;  ///< of our jobs' names
    cluster::LookRules look;
    std::function<void(control::Event)> happened;
    std::function<control::Now()> now;
    /// Makes the job's directory; the error is a mistake that stays one.
    std::function<Result<std::filesystem::path>(const control::Job&)> prepare;
    /// Whether there are jobs that are not over; called on this thread, and may wait a little.
    std::function<bool()> has_jobs;
  };
  ClusterDesk(cluster::Cluster& cluster, Options options);
  /// Waits for the call that is under way.
  ~ClusterDesk();

  void submit(control::Job job);
  void cancel(std::string name, std::string cluster_id);
  void ask_history(std::vector<std::string> names);
  void look_soon();

 private:
  void put(std::function<void()> call);
  void run();
  void look();
  void submit_now(const control::Job& job);
  cluster::Moment clock() const;
  double random() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  cluster::Cluster& cluster_;
  Options options_;
  cluster::LookPace pace_;
  std::mt19937_64 random_{std::random_device{}()};
  std::vector<std::string> last_seen_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> calls_;
  bool look_soon_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace orch::orchd
