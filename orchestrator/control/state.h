// All that the daemon knows, and the one way in which it changes.
//
// Holds:
//  - apply() does no I/O, reads no clock and draws no random number: the same events give the same effects.
//  - No action leaves before its changes are committed; the caller sees to that.
//  - restore(rows written so far) is the state that wrote them, less what a restart ends (calls that wait, the plan).
// Invariants 1 to 12 of the design are checked by sim/invariants.cpp after every event of every simulated week.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/cell.h"
#include "control/change.h"
#include "control/durations.h"
#include "control/event.h"
#include "control/ids.h"
#include "control/job.h"
#include "control/key_index.h"
#include "control/leases.h"
#include "control/ledger.h"
#include "control/names.h"
#include "control/need.h"
#include "control/queue.h"
#include "control/sweep.h"
#include "policy/policy.h"

namespace orch::control {

/// Numbers that are the daemon's own, not the policy's.
struct Rules {
  Serving lease_term = std::chrono::seconds(60);
  Serving absent_after = std::chrono::minutes(5);  ///< unknown to the cluster for so long: it is gone
  Serving cut_off_after =
      std::chrono::seconds(30);  ///< after a start: what was being submitted before has arrived by then
  Serving retry_submit = std::chrono::seconds(30);       ///< after a submission that may work later; doubles …
  Serving retry_submit_most = std::chrono::minutes(10);  ///< … up to this
  Serving node_excluded = std::chrono::hours(1);
  int node_failures = 3;   ///< jobs in a row that failed on a node: it is excluded
  int strikes = 3;         ///< jobs in a row that ended before they delivered: no more are submitted
  int expiries = 3;        ///< leases of a cell that ran out before that counts as a failure of its own
  double start = 60;       ///< seconds from a job's start to its worker's first question
  double ahead = 20;       ///< seconds of short work that a worker may hold beside what it runs
  double short_cell = 10;  ///< seconds: a cell of at most so many may be leased ahead
  double poll = 2;         ///< seconds after which an idle worker asks again
};

/// A sweep that wants a cell, and as which of its cells.
struct Want {
  SweepId sweep{};
  std::uint32_t order = 0;
};

struct Node {
  int failures = 0;  ///< jobs in a row
  std::optional<Utc> excluded_until;
};

/// Of the cells of one need.
struct Backlog {
  std::uint32_t waiting = 0;
  std::uint32_t running = 0;
};

struct State {
  explicit State(policy::Policy with, std::string of_instance, Rules by = {});

  policy::Policy policy;
  std::string instance;  ///< of this store; part of every job's name
  Rules rules;

  Names names;  ///< of models and tasks
  std::vector<Cell> cells;
  std::vector<Want> first_want;                    ///< of each cell
  std::map<CellId, std::vector<Want>> more_wants;  ///< of the few that several sweeps want
  KeyIndex by_key;
  std::map<CellId, std::vector<CellId>> dependents;
  std::map<CellId, Trouble> troubles;
  std::map<CellId, std::vector<ChunkState>>
      chunks;  ///< of cells that have several, of which some do not wait; a done cell has none
  std::vector<Need> needs;
  std::vector<Backlog> backlog;  ///< of each need
  Durations durations;
  std::vector<Sweep> sweeps;
  std::map<std::string, SweepId, std::less<>> by_request;
  std::map<JobId, Job> jobs;  ///< that are not ended, and those that ended since the start
  std::set<JobId> open_jobs;  ///< of these, those that have not ended
  Ledger ledger;              ///< of those that have
  std::map<std::string, JobId, std::less<>> by_name;
  std::uint32_t next_job = 1;
  std::uint32_t starts = 0;  ///< of the daemon, on this store: the upper half of every ticket
  std::uint32_t next_ticket = 1;
  std::map<std::string, Node, std::less<>> nodes;  ///< only those on which something failed
  std::set<std::string, std::less<>> held_models;
  std::map<NoticeId, Notice> notices;  ///< that are not told yet
  std::uint32_t next_notice = 1;       ///< since the start
  std::set<std::string> warned;        ///< names of facts: of which budgets people were told that they run out

  Queue queue;
  Leases leases;
  /// Attempts of the native engine that ended without a result, of chunks that have none yet. The next one goes on with
  /// them, be it after a failure or a cancellation that was thought better of.
  std::map<Chunk, std::vector<std::pair<JobId, Ticket>>> begun;

  // What a restart ends.
  Serving started{};
  std::map<JobId, Serving> missing_since;
  std::map<JobId, Serving> sure_after;  ///< a look that began later than this must show the job
  std::set<JobId> silent;               ///< said nothing for a term: the cluster was asked
  std::map<CellId, int> expiries;       ///< leases that ran out, of each cell
  std::map<CellId, double> progress;    ///< of trainings that wait: the share that is done, as their workers last said
  Serving submit_again{};               ///< nothing is submitted before
  Serving submit_pause{};               ///< the last pause; doubles
  std::vector<event::PlannedJob> plan;  ///< what is to be submitted, best first
  std::uint64_t plan_version = 0;       ///< counts what made a plan stale
  std::uint64_t plan_made = 0;          ///< the version that `plan` is of
  std::optional<std::uint64_t> plan_asked;

  const Job* job_named(std::string_view name) const;
  bool is_live(SweepId sweep) const { return control::is_live(sweeps[index(sweep)].state); }
  template <class Visit>
  void each_want(CellId cell, Visit&& visit) const {
    visit(first_want[index(cell)]);
    if (const auto more = more_wants.find(cell); more != more_wants.end())
      for (const Want& want : more->second) visit(want);
  }
  /// Whether a want of a cell is of the cell as it is now: its sweep asked for this generation, or for something that
  /// needs the cell and is not done. What another sweep had made afresh, and then cancelled, is still owed to the
  /// latter.
  bool cares(const Want& want, CellId cell) const;
};

Effects apply(State& state, const Event& event, Now now);

/// The same, where the event's texts may be taken: a million cells are not copied.
Effects apply(State& state, Event&& event, Now now);

}  // namespace orch::control
