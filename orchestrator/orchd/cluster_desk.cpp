#include "orchd/cluster_desk.h"

#include <algorithm>
#include <utility>

namespace orch::orchd {

using namespace control;

ClusterDesk::ClusterDesk(cluster::Cluster& cluster, Options options)
    : cluster_(cluster), options_(std::move(options)), pace_(options_.look), thread_([this] { run(); }) {}

ClusterDesk::~ClusterDesk() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ClusterDesk::submit(Job job) {
  put([this, job = std::move(job)] { submit_now(job); });
}

void ClusterDesk::cancel(std::string name, std::string cluster_id) {
  put([this, name = std::move(name), cluster_id = std::move(cluster_id)] {
    // What failed is asked for again by the next look that shows the job.
    static_cast<void>(cluster_.cancel(name, cluster_id));
    look_soon();
  });
}

void ClusterDesk::ask_history(std::vector<std::string> names) {
  put([this, names = std::move(names)] {
    auto jobs = cluster_.history(names);
    if (jobs) options_.happened(event::History{true, names, *std::move(jobs)});
  });
}

void ClusterDesk::look_soon() {
  {
    const std::lock_guard lock(mutex_);
    look_soon_ = true;
  }
  wake_.notify_one();
}

void ClusterDesk::put(std::function<void()> call) {
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }
  wake_.notify_one();
}

cluster::Moment ClusterDesk::clock() const {
  return std::chrono::duration_cast<cluster::Moment>(std::chrono::steady_clock::now().time_since_epoch());
}

void ClusterDesk::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (std::exchange(look_soon_, false)) pace_.look_soon(clock());
    if (!calls_.empty()) {
      const std::function<void()> call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call();
      lock.lock();
      continue;
    }
    if (pace_.is_due(clock())) {
      lock.unlock();
      look();
      lock.lock();
      continue;
    }
    const auto until = std::chrono::steady_clock::now() + (pace_.next() - clock());
    wake_.wait_until(lock, until, [this] { return stopping_ || look_soon_ || !calls_.empty(); });
  }
}

void ClusterDesk::look() {
  if (!options_.has_jobs()) return pace_.looked(clock(), false, random());
  const Serving asked = options_.now().serving;
  auto jobs = cluster_.look(options_.prefix);
  if (!jobs) return pace_.failed(clock(), random());
  std::vector<std::string> seen;
  for (const event::Seen& job : *jobs) seen.push_back(job.name + " " + job.cluster_id + " " + job.says);
  std::ranges::sort(seen);
  pace_.looked(clock(), seen != last_seen_, random());
  last_seen_ = std::move(seen);
  options_.happened(event::Looked{asked, *std::move(jobs)});
}

void ClusterDesk::submit_now(const Job& job) {
  using Why = event::NotSubmitted::Why;
  const auto script = options_.prepare(job);
  if (!script) return options_.happened(event::NotSubmitted{job.id, Why::kMistake, script.error().what});
  auto id = cluster_.submit({job.name, *script, script->parent_path(), job.excluded_nodes});
  if (id)
    options_.happened(event::Submitted{job.id, *std::move(id)});
  else
    options_.happened(event::NotSubmitted{job.id, id.error().why, id.error().what});
}

}  // namespace orch::orchd
