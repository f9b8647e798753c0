// What time does: leases run out, jobs that nobody knows are given up, nodes are tried again. And the start.
#include <algorithm>

#include "control/books.h"
#include "control/step.h"

namespace orch::control {
namespace {

/// A worker that was silent for a term may be dead: the cluster is asked, and tells how it ended. If that says nothing
/// for another term, what it holds goes back.
void expire_leases(Step& step) {
  std::set<JobId> silent;
  for (const Chunk& chunk : step.state.leases.expired(step.now.serving))
    silent.insert(step.state.leases.find(chunk)->job);
  for (const JobId job : silent)
    if (step.state.silent.insert(job).second) {
      step.state.leases.renew(job, step.now.serving);
      step.act(action::LookSoon{});
    }
  for (const Chunk& chunk : step.state.leases.expired(step.now.serving)) {
    const Lease* lease = step.state.leases.find(chunk);
    if (!lease) continue;  // its cell was given up a moment ago, because of another chunk
    const JobId job = lease->job;
    step.give_back(chunk);
    step.note_cell("lease.expired", chunk.cell, step.state.jobs.at(job).name + " said nothing for two terms");
    int& expiries = step.state.expiries[chunk.cell];
    if (++expiries < step.state.rules.expiries) continue;
    expiries = 0;
    fail(step, {chunk.cell, &step.state.jobs.at(job), policy::Cause::kLostPeer,
                "its worker fell silent " + std::to_string(step.state.rules.expiries) + " times", false});
  }
}

void give_up_missing(Step& step) {
  for (const JobId id : step.state.open_jobs) {
    Job& job = step.state.jobs.at(id);
    const auto since = step.state.missing_since.find(id);
    if (job.state != JobState::kMissing || since == step.state.missing_since.end()) continue;
    if (step.now.serving - since->second < step.state.rules.absent_after) continue;
    begin_ending(step, job, job.cluster_id.empty() ? End::kNotSubmitted : End::kAbsent,
                 job.cluster_id.empty() ? "the cluster never had it" : "the cluster does not know it any more");
  }
}

void try_nodes_again(Step& step) {
  std::vector<std::string> again;
  for (const auto& [name, node] : step.state.nodes)
    if (node.excluded_until && *node.excluded_until <= step.now.utc) again.push_back(name);
  for (const std::string& name : again) {
    step.state.nodes.erase(name);
    step.put(row::PutFact{"node:" + name, ""});
    step.put(row::Note{step.now.utc, "node.tried_again", -1, -1, -1, "node " + name + " is tried again"});
  }
}

}  // namespace

void start(Step& step) {
  State& state = step.state;
  ++state.starts;
  state.next_ticket = 1;
  step.put(row::PutFact{"starts", std::to_string(state.starts)});
  state.next_notice = 1;
  tell_again(step);
  state.leases.renew_all(step.now.serving);
  for (const JobId id : state.open_jobs) {
    const Job& job = state.jobs.at(id);
    // The cluster may have it or not: a look that begins from now on tells.
    state.sure_after[id] = step.now.serving;
    if (job.state == JobState::kMissing) state.missing_since[id] = step.now.serving;
    if (job.state == JobState::kEnding) step.act(action::ReadDirectory{id});
    if (job.cancel_asked && !job.is_over()) step.act(action::Cancel{id});
  }
  if (!state.jobs.empty()) step.act(action::LookSoon{});
  step.plan_anew();
}

void tick(Step& step) {
  expire_leases(step);
  give_up_missing(step);
  try_nodes_again(step);
  warn_of_budgets(step);
}

}  // namespace orch::control
