#include <algorithm>
#include <utility>

#include "control/step.h"

namespace orch::control {
namespace {

/// Takes the event apart. What may change which jobs are wanted is followed by top_up().
struct Apply {
  Step& step;

  void operator()(event::SubmitSweep&& it) const { submit(step, std::move(it)), top_up(step); }
  void operator()(event::CancelSweep&& it) const { cancel(step, it), top_up(step); }
  void operator()(event::RetrySweep&& it) const { retry(step, it), top_up(step); }
  void operator()(event::HoldSweep&& it) const { hold(step, it), top_up(step); }
  void operator()(event::CancelJob&& it) const { cancel(step, it), top_up(step); }
  void operator()(event::HoldModel&& it) const { hold(step, it), top_up(step); }
  void operator()(event::SetPolicy&& it) const { set_policy(step, std::move(it)), top_up(step); }
  void operator()(event::Claim&& it) const { claim(step, it), top_up(step); }
  void operator()(event::AskLease&& it) const { lease(step, it); }
  void operator()(event::Heartbeat&& it) const { heartbeat(step, it); }
  void operator()(event::Deliver&& it) const { deliver(step, std::move(it)); }
  void operator()(event::ExitRecord&& it) const { record_exit(step, it), top_up(step); }
  void operator()(event::Submitted&& it) const { submitted(step, it), top_up(step); }
  void operator()(event::NotSubmitted&& it) const { not_submitted(step, it), top_up(step); }
  void operator()(event::Looked&& it) const { looked(step, it), top_up(step); }
  void operator()(event::History&& it) const { history(step, it), top_up(step); }
  void operator()(event::DirectoryRead&& it) const { read_directory(step, it), top_up(step); }
  void operator()(event::TakeNotice&& it) const { take(step, it); }
  void operator()(event::NoticeTold&& it) const { told(step, it); }
  void operator()(event::Started&&) const { start(step), top_up(step); }
  void operator()(event::Tick&&) const { tick(step), top_up(step); }
  void operator()(event::Planned&& it) const {
    step.state.plan = std::move(it.jobs);
    step.state.plan_made = it.version;
    step.state.plan_asked.reset();
    top_up(step);
  }
};

}  // namespace

State::State(policy::Policy with, std::string of_instance, Rules by)
    : policy(std::move(with)), instance(std::move(of_instance)), rules(by), leases(by.lease_term) {}

bool State::cares(const Want& want, CellId cell) const {
  if (sweeps[index(want.sweep)].cells[want.order].generation == cells[index(cell)].generation) return true;
  const auto found = dependents.find(cell);
  if (found == dependents.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](CellId dependent) {
    if (cells[index(dependent)].state == CellState::kDone) return false;
    bool wanted = false;
    each_want(dependent,
              [&](const Want& other) { wanted = wanted || (other.sweep == want.sweep && cares(other, dependent)); });
    return wanted;
  });
}

const Job* State::job_named(std::string_view name) const {
  const auto at = by_name.find(name);
  return at == by_name.end() ? nullptr : &jobs.at(at->second);
}

Effects apply(State& state, Event&& event, Now now) {
  Step step(state, now);
  std::visit(Apply{step}, std::move(event));
  return step.finish();
}

Effects apply(State& state, const Event& event, Now now) { return apply(state, Event(event), now); }

}  // namespace orch::control
