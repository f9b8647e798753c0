// Which cells a worker gets: the best that wait, of what it has loaded first, as long as they fit its slots and its
// time.
//
// Holds:
//  - Late binding: what a job runs is decided when it asks. Beside what fills its slots it holds only short cells.
//  - A cell after whose start a worker died runs alone.
#include <algorithm>
#include <cmath>
#include <queue>
#include <tuple>

#include "control/estimate.h"
#include "control/step.h"

namespace orch::control {
namespace {

using action::Answer;

constexpr double kEpsilon = 1e-6;            // of parts of a GPU
constexpr std::size_t kMostPassedOver = 64;  // cells of one heap that are looked at though they do not fit now
constexpr double kLeastPatience = 300;       // seconds

const Trouble* trouble_of(const State& state, CellId cell) {
  const auto at = state.troubles.find(cell);
  return at == state.troubles.end() ? nullptr : &at->second;
}

/// What the chunks that a job holds take of it.
struct Use {
  double gpus = 0;
  int cpus = 0;
  std::int64_t memory = 0;
  double seconds = 0;  ///< of work, over all slots
  bool alone = false;  ///< one of them is not to have neighbours
  std::size_t chunks = 0;

  void add(const Need& need, double of) {
    gpus += need.resources.gpus;
    cpus += need.resources.cpus;
    memory += need.resources.memory;
    seconds += of;
    ++chunks;
  }
};

/// Of one chunk.
double expected_seconds(const State& state, CellId id) {
  return estimate(state, id).expected / state.cells[index(id)].chunks;
}
double bound_seconds(const State& state, CellId id) {
  return estimate(state, id).bound / state.cells[index(id)].chunks;
}

/// Seconds without getting on after which one chunk is stopped: of a training not the time that all of it may take.
double patience(const State& state, CellId id) {
  const double bound = bound_seconds(state, id);
  const bool trains = state.needs[index(state.cells[index(id)].need)].trains;
  return trains ? std::max(kLeastPatience, bound / 4) : bound;
}

bool runs_alone(const State& state, CellId id) {
  const Trouble* trouble = trouble_of(state, id);
  return trouble && trouble->crashes > 0;
}

Use use_of(const State& state, const Job& job) {
  Use use;
  for (const Chunk& chunk : state.leases.of(job.id)) {
    const Cell& cell = state.cells[index(chunk.cell)];
    use.add(state.needs[index(cell.need)], expected_seconds(state, chunk.cell));
    use.alone = use.alone || runs_alone(state, chunk.cell);
  }
  return use;
}

bool has_slot(const Need& need, const Job& job, const Use& use) {
  const Resources &want = need.resources, &all = job.resources;
  return use.gpus + want.gpus <= all.gpus + kEpsilon && use.cpus + want.cpus <= all.cpus &&
         (all.memory == 0 || use.memory + want.memory <= all.memory);
}

bool shares_node(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::any_of(a.begin(), a.end(),
                     [&](const std::string& node) { return std::find(b.begin(), b.end(), node) != b.end(); });
}

struct Candidate {
  Queue::Head head;
  Queue::Entry entry;
  bool loaded = false;  ///< nothing is to be loaded first
  double rank = 0;

  bool operator<(const Candidate& other) const {
    return std::tuple(loaded, rank, other.head, other.entry.order) <
           std::tuple(other.loaded, other.rank, head, entry.order);
  }
};

class Leasing {
 public:
  Leasing(Step& step, Job& job, const event::AskLease& ask)
      : step_(step), state_(step.state), job_(job), ask_(ask), use_(use_of(step.state, job)) {}

  void run(Answer& answer) {
    tell_again(answer);
    if (use_.alone) return;
    for (const Queue::Head& head : state_.queue.heads())
      if (may_serve(head)) consider(head);
    while (!candidates_.empty() && answer.given.size() < ask_.most && !use_.alone) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      if (!step_.may_be_leased(best.head.first, best.entry.cell)) {  // given a moment ago, on behalf of another sweep
        consider(best.head);
        continue;
      }
      const Need& need = state_.needs[index(best.head.first)];
      const bool ahead = !has_slot(need, job_, use_);
      if (ahead && !may_stand_behind(need, best.entry.cell)) continue;  // nor does another cell of this need
      state_.queue.pop(best.head);
      if (!suits(best, need, ahead)) {
        passed_over_[best.head].push_back(best.entry);
      } else {
        give(best.entry.cell, need, answer);
        if (step_.has_waiting_chunk(best.entry.cell)) state_.queue.push(best.head.first, best.head.second, best.entry);
      }
      if (passed_over_[best.head].size() < kMostPassedOver) consider(best.head);
    }
    for (const auto& [head, entries] : passed_over_)
      for (const Queue::Entry& entry : entries) state_.queue.push(head.first, head.second, entry);
  }

  /// Leases of an answer that got lost: the worker does not know that it has them.
  void tell_again(Answer& answer) {
    std::set<Chunk> unknown = state_.leases.of(job_.id);
    for (const Chunk& chunk : ask_.held) unknown.erase(chunk);
    for (const Chunk& chunk : unknown) answer.given.push_back(given(chunk));
  }

  /// Whether some cell waits that the job could ever take.
  bool something_waits() {
    for (const Queue::Head& head : state_.queue.heads()) {
      if (!may_serve(head)) continue;
      if (state_.queue.best(head, waits())) return true;
    }
    return false;
  }

 private:
  Queue::Waits waits() {
    return [this](NeedId need, CellId cell) { return step_.may_be_leased(need, cell); };
  }

  bool may_serve(const Queue::Head& head) const {
    return state_.sweeps[index(head.second)].state == SweepState::kRunning &&
           fits(state_.needs[index(head.first)], job_);
  }

  void consider(const Queue::Head& head) {
    const auto best = state_.queue.best(head, waits());
    if (!best) return;
    const Need& need = state_.needs[index(head.first)];
    const Sweep& sweep = state_.sweeps[index(head.second)];
    candidates_.push(
        {head, *best, is_loaded(need), static_cast<double>(best->score) + age_bonus(state_, sweep, step_.now)});
  }

  bool is_loaded(const Need& need) const {
    return need.loads.empty() || std::find(ask_.loaded.begin(), ask_.loaded.end(), need.loads) != ask_.loaded.end();
  }

  bool may_stand_behind(const Need& need, CellId cell) const {
    const double seconds = expected_seconds(state_, cell);
    return need.resources.nodes == 1 && seconds <= state_.rules.short_cell &&
           use_.seconds + seconds <= state_.rules.ahead * side_by_side(need, job_);
  }

  /// What is known of the cell itself: its time, its nodes, its company.
  bool suits(const Candidate& candidate, const Need& need, bool ahead) const {
    const CellId id = candidate.entry.cell;
    const Trouble* trouble = trouble_of(state_, id);
    if (trouble && shares_node(trouble->excluded_nodes, job_.nodes)) return false;
    if (runs_alone(state_, id) && use_.chunks > 0) return false;
    const double before = (candidate.loaded ? 0 : need.load) + (ahead ? use_.seconds / side_by_side(need, job_) : 0);
    return before + least_time(state_, id) <= ask_.time_left;
  }

  void give(CellId id, const Need& need, Answer& answer) {
    const Chunk chunk = step_.next_waiting_chunk(id);
    step_.lease(chunk, job_);
    ++job_.taken;
    use_.add(need, expected_seconds(state_, id));
    use_.alone = runs_alone(state_, id);
    answer.given.push_back(given(chunk));
  }

  Answer::Given given(Chunk chunk) const {
    const Cell& cell = state_.cells[index(chunk.cell)];
    const Trouble* trouble = trouble_of(state_, chunk.cell);
    Answer::Given it;
    it.chunk = chunk;
    it.ticket = state_.leases.find(chunk)->ticket;
    it.generation = cell.generation;
    it.attempt = trouble ? trouble->attempts() + 1 : 1;
    it.seconds = patience(state_, chunk.cell);
    it.depends = cell.depends;
    const Resources& wanted = state_.needs[index(cell.need)].resources;
    it.gpus = wanted.gpus;
    it.cpus = wanted.cpus;
    it.memory = wanted.memory;
    it.smaller_batch = trouble ? trouble->smaller_batch : 1;
    it.need = cell.need;
    it.native = !state_.needs[index(cell.need)].loads.empty();
    if (const auto before = state_.begun.find(chunk); before != state_.begun.end()) it.before = before->second;
    return it;
  }

  Step& step_;
  State& state_;
  Job& job_;
  const event::AskLease& ask_;
  Use use_;
  std::priority_queue<Candidate> candidates_;
  std::map<Queue::Head, std::vector<Queue::Entry>> passed_over_;
};

}  // namespace

double side_by_side(const Need& need, const Job& job) {
  double lanes = need.resources.cpus > 0 ? job.resources.cpus / need.resources.cpus : 1;
  if (need.resources.gpus > 0) lanes = std::min(lanes, std::floor(job.resources.gpus / need.resources.gpus + kEpsilon));
  if (need.resources.memory > 0 && job.resources.memory > 0)
    lanes = std::min(lanes, static_cast<double>(job.resources.memory / need.resources.memory));
  return std::max(lanes, 1.0);
}

double age_bonus(const State& state, const Sweep& sweep, Now now) {
  const double days = std::chrono::duration<double, std::ratio<86400>>(now.utc - sweep.submitted).count();
  return std::min(std::max(days, 0.0) * state.policy.ageing_per_day, state.policy.ageing_most);
}

bool fits(const Need& need, const Job& job) {
  const Resources &want = need.resources, &all = job.resources;
  return need.environment == job.environment && want.nodes == all.nodes && want.gpus <= all.gpus + kEpsilon &&
         want.cpus <= all.cpus && (all.memory == 0 || want.memory <= all.memory);
}

void lease(Step& step, const event::AskLease& ask) {
  Answer answer;
  answer.request = ask.request;
  Job* job = find_job(step, ask.job);
  if (!job) {
    answer.status = Answer::Status::kNotFound;
    answer.text = "no job " + ask.job + " is known here";
    return step.act(std::move(answer));
  }
  if (job->is_over() || ask.epoch != job->epoch) {
    answer.status = Answer::Status::kGone;
    answer.text = "a newer copy of " + job->name + " works";
    return step.act(std::move(answer));
  }
  if (job->state == JobState::kMissing) {
    step.state.missing_since.erase(job->id);
    step.set(*job, job->cancel_asked ? JobState::kDraining : JobState::kRunning);
  }
  answer.drain = job->state == JobState::kDraining;
  if (!answer.drain) {
    step.state.leases.renew(job->id, step.now.serving);
    step.state.silent.erase(job->id);
    Leasing leasing(step, *job, ask);
    leasing.run(answer);
    if (answer.given.empty()) answer.nothing_left = !leasing.something_waits();
    answer.retry_after = step.state.rules.poll;
    job->passed_over = answer.given.empty() && !answer.nothing_left;
  }
  step.act(std::move(answer));
}

}  // namespace orch::control
