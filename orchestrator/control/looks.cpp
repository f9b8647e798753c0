// What the cluster says of our jobs. Absence counts only from a look that succeeded, and began after the job was there.
#include <algorithm>

#include "control/step.h"

namespace orch::control {
namespace {

using event::Seen;

/// A daemon ended between writing that it submits the job and the cluster's answer; no answer said that it is unclear.
bool was_cut_off(const Job& job) { return job.cluster_id.empty() && job.reason.empty(); }

void see_alive(Step& step, Job& job, const Seen& seen) {
  job.cluster_says = seen.says;
  if (!seen.nodes.empty() && job.epoch == Epoch{}) job.nodes = seen.nodes;
  step.state.missing_since.erase(job.id);
  const bool adopted = job.cluster_id.empty();
  if (adopted) job.cluster_id = seen.cluster_id;
  JobState to = job.state;
  if (job.state == JobState::kSubmitting)
    to = JobState::kQueued;
  else if (job.state == JobState::kMissing)
    to = job.epoch == Epoch{} ? JobState::kQueued : job.cancel_asked ? JobState::kDraining : JobState::kRunning;
  else if (seen.phase == Seen::Phase::kPending && job.has_worker())
    to = JobState::kQueued;  // requeued: its next copy will claim it anew
  if (to != job.state || adopted) step.set(job, to);
  // Again at every look: the word may have been lost on its way.
  if (job.cancel_asked) step.act(action::Cancel{job.id});
}

void see(Step& step, const Seen& seen) {
  Job* job = find_job(step, seen.name);
  if (!job) return;
  if (!job->cluster_id.empty() && job->cluster_id != seen.cluster_id) return;  // fenced off: it will end as superseded
  if (job->is_over()) {
    // Its worker ended when it was told to, as before a preemption, and Slurm put the job into its queue again.
    if (job->state == JobState::kEnded && seen.phase == Seen::Phase::kPending) step.act(action::Cancel{job->id});
    return;
  }
  switch (seen.phase) {
    case Seen::Phase::kPending:
    case Seen::Phase::kRunning:
      return see_alive(step, *job, seen);
    case Seen::Phase::kOver:
      if (job->cluster_id.empty()) job->cluster_id = seen.cluster_id;
      if (job->epoch == Epoch{} && !seen.nodes.empty()) job->nodes = seen.nodes;
      return begin_ending(step, *job, seen.end.value_or(End::kUnknown), seen.says);
    case Seen::Phase::kUnknown:
      job->cluster_says = seen.says;
      return;
  }
}

}  // namespace

void looked(Step& step, const event::Looked& look) {
  std::set<std::string_view> there;
  for (const Seen& seen : look.jobs) {
    there.insert(seen.name);
    see(step, seen);
  }
  std::vector<JobId> lost;
  for (const JobId id : step.state.open_jobs) {
    Job& job = step.state.jobs.at(id);
    if (job.is_over() || there.contains(job.name)) continue;
    if (job.state == JobState::kMissing) {
      // What submitted it died with its daemon, and an earlier look has asked whether anybody remembers it.
      if (was_cut_off(job) && look.asked >= step.state.rules.cut_off_after)
        begin_ending(step, job, End::kNotSubmitted, "the daemon ended before the cluster had it");
      else
        lost.push_back(id);
      continue;
    }
    const auto sure = step.state.sure_after.find(id);
    if (sure == step.state.sure_after.end() || look.asked <= sure->second) continue;
    step.state.missing_since[id] = step.now.serving;
    step.set(job, JobState::kMissing);
    lost.push_back(id);
  }
  const bool again =
      std::any_of(lost.begin(), lost.end(), [&](JobId id) { return was_cut_off(step.state.jobs.at(id)); });
  if (!lost.empty()) step.act(action::AskHistory{std::move(lost)});
  if (again) step.act(action::LookSoon{});
}

void history(Step& step, const event::History& history) {
  for (const Seen& seen : history.jobs) see(step, seen);
}

}  // namespace orch::control
