// What people ask for: sweeps and their cells, holding, cancelling, trying again, another policy.
//
// Holds:
//  - The same content is one cell, however many sweeps ask for it; what is done is not done again.
//  - Cancelling a sweep touches no cell that another live sweep wants.
#include <algorithm>

#include "base/text.h"
#include "control/same_work.h"
#include "control/step.h"
#include "policy/json.h"

namespace orch::control {
namespace {

using action::Answer;

constexpr std::size_t kMostChangesNoted = 12;

std::vector<NeedId> add_needs(Step& step, std::vector<Need>&& needs) {
  std::vector<NeedId> ids;
  for (Need& need : needs) {
    const auto known = std::find_if(step.state.needs.begin(), step.state.needs.end(), [&](const Need& other) {
      return other.resources == need.resources && other.environment == need.environment && other.loads == need.loads &&
             other.profile == need.profile && other.script_values == need.script_values;
    });
    if (known != step.state.needs.end()) {
      // Asked for again: what stopped it may be mended.
      if (known->strikes > 0 || !known->stopped.empty()) {
        known->strikes = 0;
        known->stopped.clear();
        step.put(row::PutNeed{*known});
      }
      ids.push_back(known->id);
      continue;
    }
    need.id = NeedId{static_cast<std::uint32_t>(step.state.needs.size())};
    need.like = first_like(step.state.needs, need);
    ids.push_back(need.id);
    step.put(row::PutNeed{need});
    step.state.needs.push_back(std::move(need));
    step.state.backlog.emplace_back();
  }
  return ids;
}

/// In which state a cell is when it begins.
CellState first_state(const State& state, const Cell& cell) {
  if (cell.depends == kNoCell || state.cells[index(cell.depends)].state == CellState::kDone) return CellState::kWaiting;
  return CellState::kBlocked;
}

/// With what earlier attempts have left, but none of their failures.
void begin_again(Step& step, CellId id) {
  step.state.troubles.erase(id);
  step.put(row::ForgetFailures{id});
  step.set(id, CellState::kWaiting);
}

CellId add_cell(Step& step, event::AskedCell&& asked, NeedId need, CellId depends) {
  State& state = step.state;
  const CellId id{static_cast<std::uint32_t>(state.cells.size())};
  Cell cell;
  cell.key = asked.key;
  cell.need = need;
  cell.depends = depends;
  cell.model = state.names.number(asked.model);
  cell.task = state.names.number(asked.task);
  cell.expected = asked.expected;
  cell.bound = asked.bound;
  cell.basis = asked.basis;
  cell.work = asked.work == kNoWork ? work_of(asked.key) : asked.work;
  cell.chunks = std::max<std::uint16_t>(asked.chunks, 1);
  cell.state = first_state(state, cell);
  state.backlog[index(need)].waiting += static_cast<std::uint32_t>(cell.state == CellState::kWaiting);
  state.cells.push_back(cell);
  state.by_key.add(id, state.cells);
  if (depends != kNoCell) state.dependents[depends].push_back(id);
  step.put(row::PutCell{id, asked.key, need, depends, std::move(asked.model), std::move(asked.task), asked.expected,
                        asked.bound, asked.basis, cell.work, cell.chunks, std::move(asked.content),
                        std::move(asked.settings)});
  return id;
}

/// The sweep wants the cell; its counts know it from now on.
void want(Step& step, Sweep& sweep, CellId id, float score) {
  State& state = step.state;
  const auto order = static_cast<std::uint32_t>(sweep.cells.size());
  const Cell& cell = state.cells[index(id)];
  sweep.cells.push_back({id, score, cell.generation});
  ++sweep.counts[static_cast<std::size_t>(cell.state)];
  if (!is_final(cell.state)) sweep.work_left += static_cast<double>(cell.expected);
  if (index(id) == state.first_want.size())
    state.first_want.push_back({sweep.id, order});
  else
    state.more_wants[id].push_back({sweep.id, order});
  step.put(row::PutWanted{sweep.id, order, sweep.cells.back()});
}

Answer answer_of(const Sweep& sweep, RequestId request, std::uint32_t reused) {
  Answer answer;
  answer.request = request;
  answer.sweep = sweep.id;
  answer.cells = static_cast<std::uint32_t>(sweep.cells.size());
  answer.reused = reused;
  return answer;
}

/// Nothing when there is no such sweep; it was answered so.
Sweep* asked_sweep(Step& step, SweepId id, RequestId request) {
  if (index(id) < step.state.sweeps.size()) return &step.sweep(id);
  Answer answer;
  answer.request = request;
  answer.status = Answer::Status::kNotFound;
  answer.text = "there is no sweep " + std::to_string(index(id) + 1);
  step.act(std::move(answer));
  return nullptr;
}

void refuse(Step& step, RequestId request, std::string why) {
  Answer answer;
  answer.request = request;
  answer.status = Answer::Status::kConflict;
  answer.text = std::move(why);
  step.act(std::move(answer));
}

void agree(Step& step, RequestId request) {
  Answer answer;
  answer.request = request;
  step.act(std::move(answer));
}

bool is_wanted_elsewhere(const State& state, CellId cell, SweepId but) {
  bool wanted = false;
  state.each_want(cell, [&](const Want& want) {
    wanted = wanted || (want.sweep != but && state.is_live(want.sweep) && state.cares(want, cell));
  });
  return wanted;
}

}  // namespace

NeedId first_like(const std::vector<Need>& needs, const Need& need) {
  const auto like = std::find_if(needs.begin(), needs.end(), [&](const Need& other) {
    return other.environment == need.environment && other.loads == need.loads && other.profile == need.profile &&
           other.script_values == need.script_values;
  });
  return like == needs.end() ? need.id : like->like;
}

void submit(Step& step, event::SubmitSweep&& asked) {
  State& state = step.state;
  if (!asked.request_key.empty())
    if (const auto known = state.by_request.find(asked.request_key); known != state.by_request.end())
      return step.act(answer_of(step.sweep(known->second), asked.request, 0));

  Sweep fresh;
  fresh.id = SweepId{static_cast<std::uint32_t>(state.sweeps.size())};
  fresh.name = std::move(asked.name);
  fresh.user = std::move(asked.user);
  fresh.request_key = std::move(asked.request_key);
  fresh.rejected_cells = asked.rejected_cells;
  fresh.submitted = step.now.utc;
  fresh.cells.reserve(asked.cells.size());
  step.put(row::PutSweep{fresh.id, fresh.name, fresh.user, fresh.request_key, std::move(asked.matrix),
                         std::move(asked.rejected), fresh.rejected_cells, fresh.submitted});
  if (!fresh.request_key.empty()) state.by_request.emplace(fresh.request_key, fresh.id);
  state.sweeps.push_back(std::move(fresh));
  Sweep& sweep = state.sweeps.back();

  const std::vector<NeedId> needs = add_needs(step, std::move(asked.needs));
  std::vector<CellId> ids;
  ids.reserve(asked.cells.size());
  std::vector<CellId> known_cells;
  for (event::AskedCell& cell : asked.cells) {
    const CellId depends = cell.depends ? ids[*cell.depends] : kNoCell;
    const float score = cell.score;
    const NeedId need = needs[cell.need];
    if (const auto known = state.by_key.find(cell.key, state.cells)) {
      ids.push_back(*known);
      known_cells.push_back(*known);
      Cell& it = step.cell(*known);
      const bool begins = is_final(it.state) && (asked.fresh || it.state != CellState::kDone);
      if (asked.fresh && it.state == CellState::kDone) ++it.generation;
      if (asked.fresh && begins) step.forget_begun(*known);
      want(step, sweep, *known, score);
      if (begins)
        begin_again(step, *known);
      else if (!is_final(it.state))
        step.enqueue(*known);
      continue;
    }
    ids.push_back(add_cell(step, std::move(cell), need, depends));
    want(step, sweep, ids.back(), score);
    if (step.cell(ids.back()).state == CellState::kWaiting) step.enqueue(ids.back());
  }
  std::uint32_t reused = 0;
  for (const CellId id : known_cells) reused += static_cast<std::uint32_t>(step.cell(id).state == CellState::kDone);
  step.note_sweep("sweep.submitted", sweep.id,
                  sweep.user + " submitted " + sweep.name + ": " + std::to_string(sweep.cells.size()) + " cells, " +
                      std::to_string(reused) + " of them done already");
  step.act(answer_of(sweep, asked.request, reused));
  step.touch(sweep.id);
  step.plan_anew();
}

void cancel(Step& step, const event::CancelSweep& asked) {
  Sweep* sweep = asked_sweep(step, asked.sweep, asked.request);
  if (!sweep) return;
  if (!is_live(sweep->state))
    return refuse(step, asked.request,
                  "sweep " + sweep->name + " is " + std::string(name_of(sweep->state)) + " already");
  step.set(asked.sweep, SweepState::kCancelled);
  Answer answer;
  answer.request = asked.request;
  for (const Wanted& wanted : sweep->cells) {
    if (is_final(step.cell(wanted.cell).state) || is_wanted_elsewhere(step.state, wanted.cell, asked.sweep)) continue;
    step.set(wanted.cell, CellState::kCancelled);
    ++answer.cells;
  }
  step.note_sweep("sweep.cancelled", asked.sweep, asked.user + " cancelled " + sweep->name);
  step.act(std::move(answer));
  step.plan_anew();
}

void retry(Step& step, const event::RetrySweep& asked) {
  Sweep* sweep = asked_sweep(step, asked.sweep, asked.request);
  if (!sweep) return;
  std::uint32_t again = 0;
  for (std::uint32_t order = 0; order < sweep->cells.size(); ++order) {
    const Wanted& wanted = sweep->cells[order];
    const Cell& cell = step.cell(wanted.cell);
    if (cell.state != CellState::kFailed && cell.state != CellState::kCancelled) continue;
    if (!step.state.cares({asked.sweep, order}, wanted.cell)) continue;
    Need& need = step.need(cell.need);
    if (need.strikes > 0 || !need.stopped.empty()) {
      need.strikes = 0;
      need.stopped.clear();
      step.put(row::PutNeed{need});
    }
    begin_again(step, wanted.cell);
    ++again;
  }
  if (again > 0 && !is_live(sweep->state)) step.set(asked.sweep, SweepState::kRunning);
  step.note_sweep(
      "sweep.retried", asked.sweep,
      asked.user + " tries " + counted(static_cast<long long>(again), "cell") + " of " + sweep->name + " again");
  Answer answer;
  answer.request = asked.request;
  answer.sweep = asked.sweep;
  answer.cells = again;
  step.act(std::move(answer));
  step.plan_anew();
}

void hold(Step& step, const event::HoldSweep& asked) {
  Sweep* sweep = asked_sweep(step, asked.sweep, asked.request);
  if (!sweep) return;
  const SweepState to = asked.hold ? SweepState::kHeld : SweepState::kRunning;
  if (!is_live(sweep->state))
    return refuse(step, asked.request, "sweep " + sweep->name + " is " + std::string(name_of(sweep->state)));
  step.set(asked.sweep, to);
  step.note_sweep(asked.hold ? "sweep.held" : "sweep.released", asked.sweep,
                  asked.user + (asked.hold ? " holds " : " released ") + sweep->name);
  agree(step, asked.request);
  step.plan_anew();
}

void cancel(Step& step, const event::CancelJob& asked) {
  const auto at = step.state.jobs.find(asked.job);
  if (at == step.state.jobs.end()) {
    Answer answer;
    answer.request = asked.request;
    answer.status = Answer::Status::kNotFound;
    answer.text = "there is no job j" + std::to_string(index(asked.job));
    return step.act(std::move(answer));
  }
  Job& job = at->second;
  if (job.is_over()) return refuse(step, asked.request, "job " + job.name + " is over already");
  if (!job.cancel_asked) {
    job.cancel_asked = true;
    job.reason = asked.user + " cancelled it";
    step.set(job, job.has_worker() ? JobState::kDraining : job.state);
    step.note_job("job.cancelled", job.id, asked.user + " cancelled " + job.name);
    step.act(action::Cancel{job.id});
    step.plan_anew();
  }
  agree(step, asked.request);
}

void hold(Step& step, const event::HoldModel& asked) {
  State& state = step.state;
  if (!asked.hold && !state.held_models.contains(asked.model)) {
    const std::vector<std::string> held(state.held_models.begin(), state.held_models.end());
    return refuse(
        step, asked.request,
        "model " + asked.model + " is not held; " + (held.empty() ? "none is" : "held are " + join(held, ", ")));
  }
  const bool changes =
      asked.hold ? state.held_models.insert(asked.model).second : state.held_models.erase(asked.model) > 0;
  Answer answer;
  answer.request = asked.request;
  const auto model = state.names.find(asked.model);
  for (std::uint32_t i = 0; model && i < state.cells.size(); ++i) {
    if (state.cells[i].model != *model || is_final(state.cells[i].state)) continue;
    ++answer.cells;
    if (!asked.hold && step.has_waiting_chunk(CellId{i})) step.enqueue(CellId{i});
  }
  if (changes) {
    step.put(row::PutFact{"held:" + asked.model, asked.hold ? asked.user : ""});
    step.put(row::Note{step.now.utc, asked.hold ? "model.held" : "model.released", -1, -1, -1,
                       asked.user + (asked.hold ? " holds " : " released ") + asked.model});
    step.plan_anew();
  }
  step.act(std::move(answer));
}

void set_policy(Step& step, event::SetPolicy&& asked) {
  step.put(row::PutFact{"policy", std::move(asked.text)});
  std::string what = asked.user + " set the policy " + asked.policy.name;
  if (asked.policy.name != step.state.policy.name) what += " in place of " + step.state.policy.name;
  const auto changes = policy::changes(step.state.policy, asked.policy);
  for (std::size_t i = 0; i < changes.size() && i < kMostChangesNoted; ++i)
    what += (i > 0 ? "; " : ": ") + changes[i].key + " " + changes[i].from + " → " + changes[i].to;
  if (changes.size() > kMostChangesNoted)
    what += "; and " + std::to_string(changes.size() - kMostChangesNoted) + " more";
  step.put(row::Note{step.now.utc, "policy.set", -1, -1, -1, std::move(what)});
  step.state.policy = std::move(asked.policy);
  agree(step, asked.request);
  step.plan_anew();
}

}  // namespace orch::control
