// Which jobs stand in the cluster's queue: as many of the plan as the policy allows, and none that nobody needs.
//
// Holds: a job is written before the cluster hears of it, and its name is never used twice (invariant 2).
#include <algorithm>
#include <cmath>

#include "control/books.h"
#include "control/estimate.h"
#include "control/step.h"

namespace orch::control {
namespace {

bool something_waits_for(const Step& step, const Job& job) {
  for (const Need& need : step.state.needs)
    if (step.state.backlog[index(need.id)].waiting > 0 && fits(need, job) && step.is_wanted(need.id)) return true;
  return false;
}

/// Where the job is not to run: what its cells have had enough of, and what fails for all. As many as are needed are
/// left, or the cluster would never start it.
std::vector<std::string> nodes_to_avoid(const Step& step, const Need& need) {
  std::set<std::string> nodes;
  const auto add = [&](const std::string& node) {
    if (need.nodes_there == 0 || static_cast<int>(nodes.size()) + need.resources.nodes < need.nodes_there)
      nodes.insert(node);
  };
  for (const auto& [id, trouble] : step.state.troubles) {
    const Cell& cell = step.state.cells[index(id)];
    if (cell.need == need.id && cell.state == CellState::kWaiting)
      for (const std::string& node : trouble.excluded_nodes) add(node);
  }
  for (const auto& [name, node] : step.state.nodes)
    if (node.excluded_until && *node.excluded_until > step.now.utc) add(name);
  return {nodes.begin(), nodes.end()};
}

Job job_for(const Step& step, const event::PlannedJob& planned) {
  Job job;
  job.id = JobId{step.state.next_job};
  job.name = "orch-" + step.state.instance + "-" + std::to_string(step.state.next_job);
  job.need = planned.need;
  job.sweep = planned.sweep;
  job.resources = planned.resources;
  job.environment = step.state.needs[index(planned.need)].environment;
  job.profile = planned.profile;
  job.script_values = planned.script_values;
  job.time_limit = planned.time_limit;
  job.submitted = step.now.utc;
  return job;
}

/// What is left of a budget need not lie unused because a whole piece of work does not fit into it.
void cut_to_budget(const Step& step, const Books& books, event::PlannedJob& planned) {
  const auto left = books.hours_left(planned.sweep);
  if (!left || planned.resources.gpus <= 0) return;
  const double seconds = std::floor(*left * 60 / planned.resources.gpus) * 60;  // Slurm's limits are whole minutes
  if (seconds >= static_cast<double>(planned.time_limit)) return;
  const auto shortest = shortest_for(step, step.state.needs[index(planned.need)]);
  if (shortest && seconds >= *shortest) planned.time_limit = static_cast<std::int64_t>(seconds);
}

void cancel_what_nobody_needs(Step& step) {
  for (const JobId id : step.state.open_jobs) {
    Job& job = step.state.jobs.at(id);
    if (job.state != JobState::kQueued || job.epoch != Epoch{} || job.cancel_asked) continue;
    if (something_waits_for(step, job)) continue;
    job.cancel_asked = true;
    job.reason = "no cell waits for it any more";
    step.set(job, job.state);
    step.act(action::Cancel{id});
  }
}

}  // namespace

std::optional<double> shortest_for(const Step& step, const Need& need) {
  std::optional<double> shortest;
  for (const Queue::Head& head : step.state.queue.heads_of(need.id)) {
    const auto best = step.state.queue.best(head, [&](NeedId of, CellId cell) { return step.may_be_leased(of, cell); });
    if (!best) continue;
    const double seconds = estimate(step.state, best->cell).bound;
    shortest = shortest ? std::min(*shortest, seconds) : seconds;
  }
  if (!shortest) return std::nullopt;
  const policy::Policy& policy = step.state.policy;
  return std::max(policy.planning.time_least, *shortest + need.load + policy.drain_signal + step.state.rules.start);
}

void submitted(Step& step, const event::Submitted& answer) {
  const auto at = step.state.jobs.find(answer.job);
  if (at == step.state.jobs.end() || at->second.is_over()) return;
  Job& job = at->second;
  step.state.submit_pause = Serving{};
  step.state.sure_after[job.id] = step.now.serving;
  if (job.cluster_id.empty()) job.cluster_id = answer.cluster_id;
  step.set(job, job.state == JobState::kSubmitting ? JobState::kQueued : job.state);
  if (job.cancel_asked) step.act(action::Cancel{job.id});
}

void not_submitted(Step& step, const event::NotSubmitted& answer) {
  const auto at = step.state.jobs.find(answer.job);
  if (at == step.state.jobs.end() || at->second.is_over()) return;
  Job& job = at->second;
  job.reason = answer.reason;
  if (answer.why == event::NotSubmitted::Why::kUnclear) {
    step.state.sure_after[job.id] = step.now.serving;
    step.set(job, job.state);
    return step.act(action::LookSoon{});
  }
  job.end = End::kNotSubmitted;
  job.ended = step.now.utc;
  step.set(job, JobState::kEnded);
  step.plan_anew();
  if (answer.why == event::NotSubmitted::Why::kMistake) {
    Need& need = step.need(job.need);
    need.stopped = answer.reason;
    step.put(row::PutNeed{need});
    step.note_job("job.refused", job.id, answer.reason);
    return stop_need(step, job.need);
  }
  Serving& pause = step.state.submit_pause;
  pause = pause == Serving{} ? step.state.rules.retry_submit : std::min(2 * pause, step.state.rules.retry_submit_most);
  step.state.submit_again = step.now.serving + pause;
  step.note_job("job.not_submitted", job.id, answer.reason + "; tried again later");
}

void top_up(Step& step) {
  State& state = step.state;
  cancel_what_nobody_needs(step);
  std::vector<event::PlannedJob> later;
  std::optional<Books> books;  // most events submit nothing
  for (event::PlannedJob& planned : state.plan) {
    Job job = job_for(step, planned);
    if (!something_waits_for(step, job)) continue;
    if (!books) books.emplace(state, step.now);
    const std::int64_t whole = planned.time_limit;
    cut_to_budget(step, *books, planned);
    if (step.now.serving < state.submit_again || books->against(planned)) {
      planned.time_limit = whole;
      later.push_back(std::move(planned));
      continue;
    }
    job.time_limit = planned.time_limit;
    job.excluded_nodes = nodes_to_avoid(step, step.need(planned.need));
    ++state.next_job;
    step.put(row::PutJob{job});
    state.by_name.emplace(job.name, job.id);
    step.act(action::Submit{job.id});
    books->add(job);
    state.open_jobs.insert(job.id);
    state.jobs.emplace(job.id, std::move(job));
  }
  state.plan = std::move(later);
  if (!state.plan_asked && state.plan_version > state.plan_made) {
    state.plan_asked = state.plan_version;
    step.act(action::Plan{state.plan_version});
  }
}

}  // namespace orch::control
