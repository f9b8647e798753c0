#include "sim/cluster.h"

#include <algorithm>

namespace orch::sim {

using control::End;
using control::event::Seen;

namespace {

constexpr Time kSignalBefore = 120 * kSecond;
constexpr Time kMisfortuneEvery = 10 * kMinute;
constexpr Time kNodeBack = 2 * kHour;

}  // namespace

Cluster::Cluster(Clock& clock, Random& random, int nodes, int gpus, int cpus, ClusterFaults faults, Machine machine)
    : clock_(clock), random_(random), faults_(faults), machine_(std::move(machine)), gpus_(gpus), cpus_(cpus) {
  quiet_.accounting = faults.accounting;
  nodes_.assign(static_cast<std::size_t>(nodes), {static_cast<double>(gpus), cpus, true});
  clock_.after(kMisfortuneEvery, [this] { misfortune(); });
}

std::string Cluster::submit(const JobSpec& spec) {
  ++submissions;
  Job job;
  job.spec = spec;
  job.id = std::to_string(next_++);
  const std::string id = job.id;
  jobs_.emplace(id, std::move(job));
  clock_.after(random_.between(100, 30 * kSecond), [this] { schedule(); });
  return id;
}

void Cluster::schedule() {
  for (auto& [id, job] : jobs_) {
    if (job.state != State::kPending) continue;
    const auto wanted = static_cast<std::size_t>(job.spec.nodes);
    const double gpus = job.spec.gpus / job.spec.nodes;
    const int cpus = (job.spec.cpus + job.spec.nodes - 1) / job.spec.nodes;
    std::vector<std::size_t> on;
    for (std::size_t i = 0; i < nodes_.size() && on.size() < wanted; ++i) {
      const Node& node = nodes_[i];
      const auto& excluded = job.spec.excluded;
      if (!node.up || node.free_gpus < gpus - 1e-9 || node.free_cpus < cpus) continue;
      if (std::find(excluded.begin(), excluded.end(), node_name(i)) != excluded.end()) continue;
      on.push_back(i);
    }
    if (on.size() == wanted) start(job, std::move(on));
  }
}

void Cluster::start(Job& job, std::vector<std::size_t> on) {
  job.state = State::kRunning;
  job.on = std::move(on);
  const int run = ++job.run;
  std::vector<std::string> names;
  for (const std::size_t i : job.on) {
    nodes_[i].free_gpus -= job.spec.gpus / job.spec.nodes;
    nodes_[i].free_cpus -= (job.spec.cpus + job.spec.nodes - 1) / job.spec.nodes;
    names.push_back(node_name(i));
  }
  const std::string id = job.id;
  const auto at = [this, id, run](Time delay, auto what) {
    clock_.after(delay, [this, id, run, what] {
      const auto found = jobs_.find(id);
      if (found != jobs_.end() && found->second.run == run && found->second.state == State::kRunning)
        what(found->second);
    });
  };
  at(std::max<Time>(job.spec.time_limit - kSignalBefore, 0), [this](Job& it) { machine_.signal(it.id); });
  at(job.spec.time_limit + random_.between(0, 30 * kSecond), [this](Job& it) { finish(it, End::kTimeout); });
  machine_.start(job.spec.name, job.id, job.restarts, std::move(names), job.spec.time_limit);
}

void Cluster::free_nodes(Job& job) {
  for (const std::size_t i : job.on) {
    nodes_[i].free_gpus += job.spec.gpus / job.spec.nodes;
    nodes_[i].free_cpus += (job.spec.cpus + job.spec.nodes - 1) / job.spec.nodes;
  }
}

void Cluster::finish(Job& job, End end) {
  if (job.state == State::kOver) return;
  if (job.state == State::kRunning) {
    free_nodes(job);
    machine_.kill(job.id);
  }
  job.state = State::kOver;
  job.end = end;
  job.over_at = clock_.now();
  clock_.after(random_.between(100, 10 * kSecond), [this] { schedule(); });
}

void Cluster::requeue(Job& job) {
  free_nodes(job);
  machine_.kill(job.id);
  job.state = State::kPending;
  job.on.clear();
  ++job.restarts;
  clock_.after(random_.between(kSecond, 3 * kMinute), [this] { schedule(); });
}

void Cluster::cancel(const std::string& name, bool by_hand) {
  for (auto& [id, job] : jobs_) {
    if (job.spec.name != name || job.state == State::kOver) continue;
    // SIGTERM first; the copy gets half a minute.
    if (job.state == State::kRunning && !by_hand) {
      machine_.signal(id);
      clock_.after(30 * kSecond, [this, which = id] { finish(jobs_.at(which), End::kCancelled); });
    } else {
      finish(job, End::kCancelled);
    }
  }
}

void Cluster::ended(const std::string& id, bool well) {
  const auto job = jobs_.find(id);
  if (job != jobs_.end()) finish(job->second, well ? End::kDone : End::kUnknown);
}

void Cluster::misfortune() {
  const double part = static_cast<double>(kMisfortuneEvery) / kDay;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].up || !random_.chance(faults_.node_fails_a_day * part)) continue;
    nodes_[i].up = false;
    for (auto& [id, job] : jobs_) {
      if (job.state != State::kRunning || std::find(job.on.begin(), job.on.end(), i) == job.on.end()) continue;
      if (random_.chance(0.5))
        requeue(job);
      else
        finish(job, End::kNodeFailure);
    }
    clock_.after(kNodeBack, [this, i] {
      nodes_[i].up = true;
      schedule();
    });
  }
  for (auto& [id, job] : jobs_) {
    if (job.state != State::kRunning) continue;
    if (random_.chance(faults_.preempts_a_day * part)) {
      if (random_.chance(0.5))
        requeue(job);
      else
        finish(job, End::kPreempted);
    } else if (random_.chance(faults_.cancels_a_day * part)) {
      finish(job, End::kCancelled);
    }
  }
  clock_.after(kMisfortuneEvery, [this] { misfortune(); });
}

Seen Cluster::seen(const Job& job) const {
  Seen seen;
  seen.name = job.spec.name;
  seen.cluster_id = job.id;
  seen.phase = job.state == State::kPending   ? Seen::Phase::kPending
               : job.state == State::kRunning ? Seen::Phase::kRunning
                                              : Seen::Phase::kOver;
  if (job.state == State::kOver) seen.end = job.end;
  for (const std::size_t i : job.on) seen.nodes.push_back(node_name(i));
  return seen;
}

std::vector<Seen> Cluster::look() const {
  std::vector<Seen> all;
  for (const auto& [id, job] : jobs_)
    if (job.state != State::kOver || clock_.now() - job.over_at < faults_.forgets_after) all.push_back(seen(job));
  return all;
}

std::vector<Seen> Cluster::history(const std::vector<std::string>& names) const {
  std::vector<Seen> found;
  if (!faults_.accounting) return found;
  for (const auto& [id, job] : jobs_)
    if (std::find(names.begin(), names.end(), job.spec.name) != names.end()) found.push_back(seen(job));
  return found;
}

std::size_t Cluster::alive() const {
  return static_cast<std::size_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return job.second.state != State::kOver; }));
}

}  // namespace orch::sim
