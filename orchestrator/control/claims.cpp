// A worker calls for the first time, and says that it is alive.
#include <algorithm>

#include "control/step.h"

namespace orch::control {
namespace {

using action::Answer;

Answer refuse(RequestId request, Answer::Status status, std::string why) {
  Answer answer;
  answer.request = request;
  answer.status = status;
  answer.text = std::move(why);
  return answer;
}

/// Why the claim is not the job's worker, or nothing.
std::optional<std::string> superseded(const Job& job, const event::Claim& claim) {
  if (job.is_over()) return "job " + job.name + " has ended: " + std::string(job.end ? name_of(*job.end) : "unknown");
  if (!job.cluster_id.empty() && job.cluster_id != claim.cluster_id)
    return "job " + job.name + " runs as " + job.cluster_id + ", not as " + claim.cluster_id;
  if (claim.restarts < job.restarts)
    return "job " + job.name + " was restarted " + std::to_string(job.restarts) + " times; this copy is older";
  return std::nullopt;
}

}  // namespace

Job* find_job(Step& step, std::string_view name) {
  const auto at = step.state.by_name.find(name);
  return at == step.state.by_name.end() ? nullptr : &step.state.jobs.at(at->second);
}

void claim(Step& step, const event::Claim& claim) {
  Job* job = find_job(step, claim.job);
  if (!job) return step.act(refuse(claim.request, Answer::Status::kNotFound, "no job " + claim.job + " is known here"));
  if (const auto why = superseded(*job, claim)) return step.act(refuse(claim.request, Answer::Status::kGone, *why));

  const bool again = job->has_worker() && claim.copy == job->copy && claim.restarts == job->restarts;
  if (!again) {
    // What an older copy holds goes back: it may still deliver, and the first delivery wins.
    const std::set<Chunk> held = step.state.leases.of(job->id);
    for (const Chunk& chunk : held) step.give_back(chunk);
    job->epoch = Epoch{static_cast<std::uint32_t>(index(job->epoch)) + 1};
    job->cluster_id = claim.cluster_id;
    job->restarts = claim.restarts;
    job->copy = claim.copy;
    job->nodes = claim.nodes;
    if (job->started == Utc{}) job->started = step.now.utc;
    step.state.silent.erase(job->id);
    step.state.missing_since.erase(job->id);
    step.set(*job, job->cancel_asked ? JobState::kDraining : JobState::kRunning);
    step.note_job("job.claimed", job->id,
                  job->name + " works as " + claim.cluster_id +
                      (claim.restarts ? ", restarted " + std::to_string(claim.restarts) + " times" : ""));
  }
  Answer answer;
  answer.request = claim.request;
  answer.epoch = job->epoch;
  answer.lease_term = std::chrono::duration<double>(step.state.rules.lease_term).count();
  answer.drain = job->state == JobState::kDraining;
  step.act(std::move(answer));
}

void heartbeat(Step& step, const event::Heartbeat& beat) {
  Job* job = find_job(step, beat.job);
  if (!job) return step.act(refuse(beat.request, Answer::Status::kNotFound, "no job " + beat.job + " is known here"));
  if (job->is_over() || beat.epoch != job->epoch)
    return step.act(refuse(beat.request, Answer::Status::kGone, "a newer copy of " + job->name + " works"));
  step.state.leases.renew(job->id, step.now.serving);
  step.state.silent.erase(job->id);
  if (job->state == JobState::kMissing) {
    step.state.missing_since.erase(job->id);
    step.set(*job, job->cancel_asked ? JobState::kDraining : JobState::kRunning);
  }
  Answer answer;
  answer.request = beat.request;
  answer.drain = job->state == JobState::kDraining;
  for (const auto& held : beat.held) {
    const Lease* lease = step.state.leases.find(held.chunk);
    if (!lease || lease->job != job->id)
      answer.drop.push_back(held.chunk);
    else
      step.state.leases.set_running(held.chunk, held.running, held.done, held.all, held.live);
  }
  step.act(std::move(answer));
}

}  // namespace orch::control
