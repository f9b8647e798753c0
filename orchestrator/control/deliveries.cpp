// Results arrive. The first delivery of a (cell, generation, chunk) wins; later ones are noted and ignored.
#include <algorithm>
#include <bit>

#include "control/estimate.h"
#include "control/step.h"

namespace orch::control {
namespace {

using action::Answer;
using event::Delivered;

/// Whether this very lease still holds: else failures and returns say nothing about the cell now.
bool holds(const Step& step, const Job& job, Epoch epoch, const Delivered& item) {
  const Lease* lease = step.state.leases.find(item.chunk);
  return lease && lease->job == job.id && lease->epoch == epoch && lease->ticket == item.ticket;
}

bool is_known(const State& state, const Delivered& item) {
  if (index(item.chunk.cell) >= state.cells.size()) return false;
  const Cell& cell = state.cells[index(item.chunk.cell)];
  return item.chunk.number < cell.chunks && item.generation >= 1 && item.generation <= cell.generation;
}

/// A cell in many chunks, or over many jobs, meets more of a cluster's mishaps than others: those before which it got
/// on do not count against it. What was done about them stays.
void forgive(Step& step, CellId id) {
  const auto trouble = step.state.troubles.find(id);
  if (trouble == step.state.troubles.end()) return;
  const Trouble& it = trouble->second;
  if (it.more_time != 1 || it.smaller_batch != 1 || !it.excluded_nodes.empty()) return;
  step.state.troubles.erase(trouble);
  step.put(row::ForgetFailures{id});
}

/// Whether a training that is given back is further than any attempt at it was before.
bool got_on(const Step& step, const Chunk& chunk) {
  const Lease* lease = step.state.leases.find(chunk);
  if (!lease || lease->all <= 0 || !step.state.needs[index(step.state.cells[index(chunk.cell)].need)].trains)
    return false;
  const auto before = step.state.progress.find(chunk.cell);
  const double share = static_cast<double>(lease->done) / static_cast<double>(lease->all);
  return share > (before == step.state.progress.end() ? 0 : before->second);
}

/// Whether it was news.
bool accept(Step& step, Job& job, Epoch epoch, Delivered& item) {
  if (!is_known(step.state, item)) return false;
  const CellId id = item.chunk.cell;
  if (item.generation < step.cell(id).generation || step.is_delivered(item.chunk)) return false;
  if (item.what == Delivered::What::kDone) {
    ++job.delivered;
    job.gpu_seconds += item.gpu_seconds;
    step.put(row::PutResult{item.chunk, item.generation, job.id, std::move(item.metrics), item.gpu_seconds,
                            item.seconds, step.now.utc, std::move(item.figures), item.ticket});
    if (step.cell(id).chunks > 1) forgive(step, id);
    const bool news = learn(step.state, step.cell(id), item.seconds);
    step.deliver(item.chunk);
    // A plan that waits for its turn rests on what was supposed. It is made anew when twice as much is known.
    if (news && std::has_single_bit(step.state.durations.known()) && !step.state.plan.empty()) step.plan_anew();
    return true;
  }
  if (!holds(step, job, epoch, item)) return false;
  if (item.what == Delivered::What::kReturned && got_on(step, item.chunk)) forgive(step, id);
  step.give_back(item.chunk);
  if (item.what == Delivered::What::kReturned) return true;
  job.gpu_seconds += item.gpu_seconds;
  fail(step, {id, &job, item.cause, std::move(item.reason), false});
  return true;
}

}  // namespace

void deliver(Step& step, event::Deliver&& deliver) {
  Answer answer;
  answer.request = deliver.request;
  Job* job = find_job(step, deliver.job);
  if (!job || job->state == JobState::kEnded) {
    answer.status = job ? Answer::Status::kGone : Answer::Status::kNotFound;
    answer.text = job ? "job " + deliver.job + " has ended, and what it left was read"
                      : "no job " + deliver.job + " is known here";
    return step.act(std::move(answer));
  }
  const std::uint32_t delivered = job->delivered;
  for (Delivered& item : deliver.items)
    answer.accepted += static_cast<std::uint32_t>(accept(step, *job, deliver.epoch, item));
  if (job->delivered > 0 && delivered == 0) {
    // Its need can be served after all.
    Need& need = step.need(job->need);
    if (need.strikes > 0) {
      need.strikes = 0;
      step.put(row::PutNeed{need});
    }
  }
  if (answer.accepted > 0) step.set(*job, job->state);
  if (answer.accepted < deliver.items.size())
    step.note_job("delivery.ignored", job->id,
                  std::to_string(deliver.items.size() - answer.accepted) +
                      " items of a delivery were known already, or not this worker's to say");
  step.act(std::move(answer));
}

}  // namespace orch::control
