// One event being applied: the state, the time, and the effects so far. What the files of this room share.
//
// Holds:
//  - States of cells, jobs and sweeps change here only (set), which asserts the arrows, keeps every count, writes the
//    row, and queues the cell where it waits.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "control/state.h"

namespace orch::control {

class Step {
 public:
  Step(State& of, Now at) : state(of), now(at) {}

  State& state;
  const Now now;

  template <class Row>
  void put(Row row) {
    effects_.changes.emplace_back(std::move(row));
  }
  template <class Act>
  void act(Act action) {
    effects_.actions.emplace_back(std::move(action));
  }
  void note_sweep(std::string kind, SweepId sweep, std::string text);
  void note_cell(std::string kind, CellId cell, std::string text);
  void note_job(std::string kind, JobId job, std::string text);
  /// Tells people outside, once.
  void notify(NoticeKind kind, std::optional<SweepId> sweep, std::string text);

  Cell& cell(CellId id) { return state.cells[index(id)]; }
  Need& need(NeedId id) { return state.needs[index(id)]; }
  Sweep& sweep(SweepId id) { return state.sweeps[index(id)]; }

  /// kWaiting means: as open_state() says.
  void set(CellId id, CellState to);
  void set(Job& job, JobState to);
  void set(SweepId id, SweepState to);
  void set_need(CellId id, NeedId need);

  /// Into the queue, for every sweep that wants it now.
  void enqueue(CellId id);

  // Chunks.
  bool has_waiting_chunk(CellId id) const;
  /// As has_waiting_chunk, and its model is not held. What is not so leaves the queue, and is queued again when it is.
  bool may_be_leased(CellId id) const;
  /// … and as one of that need.
  bool may_be_leased(NeedId need, CellId id) const { return state.cells[index(id)].need == need && may_be_leased(id); }
  /// Whether a cell could be leased now by jobs of this need's kind.
  bool is_wanted(NeedId need) const;
  Chunk next_waiting_chunk(CellId id) const;
  bool is_delivered(Chunk chunk) const;
  void lease(Chunk chunk, const Job& job);
  /// Back to waiting; harmless when it was not leased.
  void give_back(Chunk chunk);
  /// Nobody goes on with the attempts at it any more.
  void forget_begun(CellId id);
  void deliver(Chunk chunk);

  /// Looks at the end of this event whether the sweep has ended: it may have had nothing to do.
  void touch(SweepId id) { touched_.insert(id); }

  /// The plan is stale.
  void plan_anew() { ++state.plan_version; }

  /// Ends the sweeps whose last cell has become final, and gives up what was done.
  Effects finish();

 private:
  void forget_begun(Chunk chunk);
  void drop_lease(Chunk chunk);
  /// Ends its lease, if it has one; the next attempt goes on with what this one leaves.
  void leave(Chunk chunk);
  void set_chunk(Chunk chunk, ChunkState to);
  bool has_chunk(CellId id, ChunkState what) const;
  /// Waiting, or blocked by the cell that it depends on, or as lost as that one, or as its need.
  std::pair<CellState, std::string> open_state(const Cell& cell) const;
  void write_state(const Cell& cell, CellId id);
  void settle_dependents(CellId id);

  Effects effects_;
  std::set<SweepId> touched_;
};

// What becomes of each event, by file.
void submit(Step&, event::SubmitSweep&&);  // sweeps.cpp
void cancel(Step&, const event::CancelSweep&);
void retry(Step&, const event::RetrySweep&);
void hold(Step&, const event::HoldSweep&);
void cancel(Step&, const event::CancelJob&);
void hold(Step&, const event::HoldModel&);
void set_policy(Step&, event::SetPolicy&&);
void claim(Step&, const event::Claim&);  // claims.cpp
void heartbeat(Step&, const event::Heartbeat&);
void lease(Step&, const event::AskLease&);          // leasing.cpp
void deliver(Step&, event::Deliver&&);              // deliveries.cpp
void record_exit(Step&, const event::ExitRecord&);  // ends.cpp
void read_directory(Step&, const event::DirectoryRead&);
void submitted(Step&, const event::Submitted&);  // submissions.cpp
void not_submitted(Step&, const event::NotSubmitted&);
void looked(Step&, const event::Looked&);  // looks.cpp
void history(Step&, const event::History&);
void take(Step&, const event::TakeNotice&);  // notices.cpp
void told(Step&, const event::NoticeTold&);
void tell_again(Step&);
void start(Step&);  // ticks.cpp
void tick(Step&);

/// A cell's attempt failed: the policy's next remedy, or it is given up. It is leased to nobody any more.
/// `alone`: nothing else can have been the cause.
struct Failure {
  CellId cell{};
  const Job* job = nullptr;
  policy::Cause cause = policy::Cause::kUnknown;
  std::string reason;
  bool crash = false;  ///< its worker died
};
void fail(Step&, const Failure&);  // failures.cpp
/// The worker died, and several cells were running: each is to run alone, and is not blamed yet.
void suspect(Step&, const Failure&);

/// It is over, as far as the cluster or its worker says; its directory is read next.
void begin_ending(Step&, Job&, End end, const std::string& reason);  // ends.cpp

/// Its `stopped` says why no job is submitted for it any more: the cells that wait for one fail with that.
void stop_need(Step&, NeedId);  // ends.cpp

/// Submits what the plan says and the limits allow, cancels what nobody needs, asks for a plan.
void top_up(Step&);  // submissions.cpp

/// Seconds that a job for the need must have for the best cells that wait for it; nothing: none waits.
std::optional<double> shortest_for(const Step& step, const Need& need);

/// Whether a job can take cells of a need at all.
bool fits(const Need& need, const Job& job);  // leasing.cpp
/// How many cells of the need run side by side in the job, at least 1.
double side_by_side(const Need& need, const Job& job);
/// What is added to the scores of a sweep's cells because they wait.
double age_bonus(const State& state, const Sweep& sweep, Now now);

Job* find_job(Step&, std::string_view name);  // claims.cpp

}  // namespace orch::control
