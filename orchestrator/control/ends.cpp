// How a job ends: what is known of it, what becomes of the cells that it held, what is learned about its nodes.
//
// Holds:
//  - Deliveries that lie in its directory are taken before its cells go back.
//  - The worker's own word on its end goes before the cluster's.
#include <algorithm>

#include "control/step.h"

namespace orch::control {
namespace {

bool says_something_of_nodes(End end) {
  return end == End::kNodeFailure || end == End::kLaunchFailed || end == End::kUnknown || end == End::kLostPeer;
}

/// A job that ended so, before it took anything, may do the same again for ever. What it took bears the blame itself.
bool is_strike(const Step& step, const Job& job) {
  if (job.taken > 0 || job.delivered > 0 || job.cancel_asked) return false;
  switch (*job.end) {
    case End::kSuperseded:
    case End::kCancelled:
    case End::kPreempted:
    case End::kNodeFailure:
      return false;
    // There was nothing for it: others were quicker. Strange only if cells waited that it had the time for: what is
    // known of their durations may have grown while it stood in the queue.
    case End::kDone:
    case End::kDrained: {
      const auto shortest = job.passed_over ? shortest_for(step, step.state.needs[index(job.need)]) : std::nullopt;
      return shortest && static_cast<double>(job.time_limit) >= *shortest;
    }
    default:
      return true;
  }
}

void judge_nodes(Step& step, const Job& job) {
  if (job.delivered > 0 && !says_something_of_nodes(*job.end)) {
    for (const std::string& name : job.nodes)
      if (const auto node = step.state.nodes.find(name);
          node != step.state.nodes.end() && !node->second.excluded_until) {
        step.state.nodes.erase(node);
        step.put(row::PutFact{"node:" + name, ""});
      }
    return;
  }
  if (!says_something_of_nodes(*job.end)) return;
  for (const std::string& name : job.nodes) {
    Node& node = step.state.nodes[name];
    ++node.failures;
    if (node.failures >= step.state.rules.node_failures && !node.excluded_until) {
      node.excluded_until = step.now.utc + step.state.rules.node_excluded;
      const std::string text = "node " + name + ": " + std::to_string(node.failures) +
                               " jobs in a row failed there; no job is sent to it for an hour";
      step.note_job("node.excluded", job.id, text);
      step.notify(NoticeKind::kAlert, std::nullopt, text);
    }
    step.put(row::PutFact{
        "node:" + name,
        std::to_string(node.failures) + " " +
            (node.excluded_until ? std::to_string(node.excluded_until->time_since_epoch().count()) : "-")});
  }
}

/// The cells that the job held: unharmed, suspected, or blamed.
void release_cells(Step& step, const Job& job) {
  const std::set<Chunk> held = step.state.leases.of(job.id);
  std::set<CellId> running;  // a cell is blamed once, however many of its chunks ran
  for (const Chunk& chunk : held)
    if (step.state.leases.find(chunk)->running) running.insert(chunk.cell);
  // A worker that died before its next heartbeat said nothing of what ran: all may have.
  if (running.empty())
    for (const Chunk& chunk : held) running.insert(chunk.cell);
  for (const Chunk& chunk : held) step.give_back(chunk);

  const auto cause = cause_of(*job.end);
  if (!cause) return;
  const bool crash = *job.end == End::kUnknown || *job.end == End::kAbsent || *job.end == End::kHostMemory;
  const std::string reason = "its job " + job.name + " ended: " + std::string(name_of(*job.end)) +
                             (job.reason.empty() ? "" : " (" + job.reason + ")");
  for (const CellId cell : running) {
    const Failure failure{cell, &job, *cause, reason, crash};
    if (crash && running.size() > 1)
      suspect(step, failure);
    else
      fail(step, failure);
  }
}

void count_strike(Step& step, const Job& job) {
  if (!is_strike(step, job)) return;
  Need& need = step.need(job.need);
  ++need.strikes;
  if (need.strikes >= step.state.rules.strikes && need.stopped.empty()) {
    need.stopped = std::to_string(need.strikes) +
                   " jobs in a row ended before they took a cell, the last: " + std::string(name_of(*job.end)) +
                   (job.reason.empty() ? "" : " (" + job.reason + ")");
    stop_need(step, need.id);
  }
  step.put(row::PutNeed{step.need(job.need)});
}

void finish_ending(Step& step, Job& job, bool started) {
  if (*job.end == End::kDone && job.epoch == Epoch{} && !job.cancel_asked) {
    job.end = started ? End::kLaunchFailed : End::kNotSubmitted;
    if (job.reason.empty()) job.reason = "its script ended before its worker called";
  }
  // It says that it is done, and holds cells: it is not as it says.
  if (*job.end == End::kDone && !step.state.leases.of(job.id).empty()) job.end = End::kUnknown;
  job.ended = step.now.utc;
  job.taken += static_cast<std::uint32_t>(step.state.leases.of(job.id).size());  // a restart forgot the others
  release_cells(step, job);
  judge_nodes(step, job);
  step.set(job, JobState::kEnded);
  count_strike(step, job);
  step.state.missing_since.erase(job.id);
  step.state.sure_after.erase(job.id);
  step.note_job("job.ended", job.id,
                job.name + ": " + std::string(name_of(*job.end)) + (job.reason.empty() ? "" : ", " + job.reason));
  step.act(action::Seal{job.id});
  step.plan_anew();
}

}  // namespace

void stop_need(Step& step, NeedId id) {
  const std::string reason = step.need(id).stopped;
  for (std::uint32_t i = 0; i < step.state.cells.size(); ++i) {
    const Cell& cell = step.state.cells[i];
    if (cell.need == id && cell.state == CellState::kWaiting) step.set(CellId{i}, CellState::kWaiting);
  }
  // Of a mistake that stops many kinds of cells people are told once.
  const bool told = std::any_of(step.state.needs.begin(), step.state.needs.end(),
                                [&](const Need& need) { return need.id != id && need.stopped == reason; });
  if (!told) step.notify(NoticeKind::kAlert, std::nullopt, reason);
}

void begin_ending(Step& step, Job& job, End end, const std::string& reason) {
  if (job.is_over()) return;
  job.end = job.cancel_asked && end != End::kDone && end != End::kDrained ? End::kCancelled : end;
  if (!reason.empty()) job.reason = reason;
  step.set(job, JobState::kEnding);
  step.act(action::ReadDirectory{job.id});
}

void record_exit(Step& step, const event::ExitRecord& record) {
  action::Answer answer;
  answer.request = record.request;
  Job* job = find_job(step, record.job);
  if (!job) {
    answer.status = action::Answer::Status::kNotFound;
    answer.text = "no job " + record.job + " is known here";
  } else if (record.epoch != job->epoch) {
    answer.status = action::Answer::Status::kGone;
    answer.text = "a newer copy of " + job->name + " works";
  } else {
    begin_ending(step, *job, record.end, record.reason);
  }
  step.act(std::move(answer));
}

void read_directory(Step& step, const event::DirectoryRead& read) {
  const auto at = step.state.jobs.find(read.job);
  if (at == step.state.jobs.end() || at->second.state != JobState::kEnding) return;
  Job& job = at->second;
  if (read.last_words && read.last_words->epoch == job.epoch) {
    job.end = read.last_words->end;
    if (!read.last_words->reason.empty()) job.reason = read.last_words->reason;
  }
  finish_ending(step, job, read.started);
}

}  // namespace orch::control
