// What is to be written: rows that a transaction puts or drops. The store writes them, and gives them back at a start.
//
// Holds: State is a function of these rows. restore() of what was written gives the state that wrote them, less what a
// restart ends (calls that wait, the plan).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "control/action.h"
#include "control/cell.h"
#include "control/ids.h"
#include "control/job.h"
#include "control/need.h"
#include "control/sweep.h"

namespace orch::control::row {

struct PutSweep {
  SweepId id{};
  std::string name, user, request_key, matrix, rejected;
  std::int64_t rejected_cells = 0;
  Utc submitted{};
};
struct SetSweepState {
  SweepId id{};
  SweepState state = SweepState::kRunning;
  Utc ended{};
};
struct PutWanted {
  SweepId sweep{};
  std::uint32_t order = 0;
  Wanted wanted;
};
struct PutNeed {
  Need need;
};
struct PutCell {
  CellId id{};
  Digest key;
  NeedId need{};
  CellId depends = kNoCell;
  std::string model, task;
  float expected = 0, bound = 0;
  planner::Basis basis = planner::Basis::kUnknown;
  Work work = kNoWork;
  std::uint16_t chunks = 1;
  std::string content, settings;
};
/// kRunning and kBlocked are never written: a lease says the one, the cell that it depends on the other.
struct SetCellState {
  CellId id{};
  CellState state = CellState::kWaiting;
  NeedId need{};  ///< a remedy may have changed it
  std::uint16_t generation = 1;
};
struct PutJob {
  Job job;
};
struct PutLease {
  Chunk chunk;
  JobId job{};
  Epoch epoch{};
  Ticket ticket{};
};
struct DropLease {
  Chunk chunk;
};
/// An attempt of the native engine ended without a result: whoever gets the chunk next goes on with what it has logged.
struct PutBegun {
  Chunk chunk;
  JobId job{};
  Ticket ticket{};
};
/// Nobody goes on with the attempts at this chunk.
struct DropBegun {
  Chunk chunk;
};
/// An attempt that failed, with what was done about it.
struct PutFailure {
  CellId cell{};
  std::uint16_t generation = 1;
  JobId job{};
  policy::Cause cause = policy::Cause::kUnknown;
  policy::Remedy remedy = policy::Remedy::kRetry;
  double factor = 1;
  bool crash = false;
  bool counts = true;              ///< on the ladder; a cell that is only suspected has not failed
  std::vector<std::string> nodes;  ///< excluded from now on
  std::string reason;
  Utc at{};
};
/// The failures of a cell are forgiven: somebody asked for it again.
struct ForgetFailures {
  CellId cell{};
};
struct PutResult {
  Chunk chunk;
  std::uint16_t generation = 1;
  JobId job{};
  std::string metrics;  ///< JSON
  double gpu_seconds = 0, seconds = 0;
  Utc at{};
  std::string figures{};  ///< JSON, or empty
  Ticket ticket{};        ///< of the attempt
};
struct PutNotice {
  Notice notice;
};
struct DropNotice {
  NoticeId id{};
};
/// The journal: what happened, for people. Append only.
struct Note {
  Utc at{};
  std::string kind;  ///< `sweep.submitted`, `job.ended`, `cell.failed`, …
  std::int64_t sweep = -1, cell = -1, job = -1;
  std::string text;
};
/// Something that there is one of: `policy`, `held:<model>`, `node:<name>`, `warned:<budget>`. Empty: there is none any
/// more.
struct PutFact {
  std::string name;
  std::string value;
};

}  // namespace orch::control::row

namespace orch::control {

using Change =
    std::variant<row::PutSweep, row::SetSweepState, row::PutWanted, row::PutNeed, row::PutCell, row::SetCellState,
                 row::PutJob, row::PutLease, row::DropLease, row::PutBegun, row::DropBegun, row::PutFailure,
                 row::ForgetFailures, row::PutResult, row::PutNotice, row::DropNotice, row::Note, row::PutFact>;

/// What an event led to.
struct Effects {
  std::vector<Change> changes;  ///< one transaction, in this order
  std::vector<Action> actions;  ///< after it
};

}  // namespace orch::control
