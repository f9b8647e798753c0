#include "control/leases.h"

#include <utility>

namespace orch::control {

bool Leases::grant(Chunk chunk, JobId job, Epoch epoch, Ticket ticket, Serving now) {
  if (!held_.try_emplace(chunk, Lease{job, epoch, ticket, now + term_}).second) return false;
  of_job_[job].insert(chunk);
  return true;
}

void Leases::renew(JobId job, Serving now) {
  for (const Chunk& chunk : of(job)) held_.at(chunk).expires = now + term_;
}

void Leases::set_running(Chunk chunk, bool running, std::int64_t done, std::int64_t all, std::string live) {
  const auto at = held_.find(chunk);
  if (at == held_.end()) return;
  at->second.running = running;
  at->second.done = done;
  at->second.all = all;
  at->second.live = std::move(live);
}

void Leases::renew_all(Serving now) {
  for (auto& [chunk, lease] : held_) lease.expires = now + term_;
}

void Leases::release(Chunk chunk) {
  const auto at = held_.find(chunk);
  if (at == held_.end()) return;
  const auto job = of_job_.find(at->second.job);
  job->second.erase(chunk);
  if (job->second.empty()) of_job_.erase(job);
  held_.erase(at);
}

const Lease* Leases::find(Chunk chunk) const {
  const auto at = held_.find(chunk);
  return at == held_.end() ? nullptr : &at->second;
}

const std::set<Chunk>& Leases::of(JobId job) const {
  static const std::set<Chunk> kNone;
  const auto at = of_job_.find(job);
  return at == of_job_.end() ? kNone : at->second;
}

std::vector<Chunk> Leases::expired(Serving now) const {
  std::vector<Chunk> over;
  for (const auto& [chunk, lease] : held_)
    if (lease.expires <= now) over.push_back(chunk);
  return over;
}

}  // namespace orch::control
