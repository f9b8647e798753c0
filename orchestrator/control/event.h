// What can happen to the daemon: everything that changes its state comes in as one of these.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "control/cell.h"
#include "control/ids.h"
#include "control/job.h"
#include "control/need.h"
#include "policy/policy.h"

namespace orch::control::event {

// From people.

/// A cell of a matrix that was expanded, sized and scored.
struct AskedCell {
  Digest key;
  std::uint32_t need = 0;                ///< index in SubmitSweep::needs
  std::optional<std::uint32_t> depends;  ///< index in SubmitSweep::cells, before this one
  std::string model, task;
  float expected = 0, bound = 0;
  planner::Basis basis = planner::Basis::kUnknown;
  Work work = kNoWork;  ///< kNoWork: nothing else is the same work
  std::uint16_t chunks = 1;
  float score = 0;
  std::string content;   ///< canonical JSON: what the key is of
  std::string settings;  ///< JSON, for people
};
struct SubmitSweep {
  RequestId request{};
  std::string name, user, request_key, matrix, rejected;
  std::int64_t rejected_cells = 0;
  bool fresh = false;
  std::vector<Need> needs;  ///< their ids are given here
  std::vector<AskedCell> cells;
};
struct CancelSweep {
  RequestId request{};
  SweepId sweep{};
  std::string user;
};
/// Failed and cancelled cells of the sweep are tried again, as if they never had been.
struct RetrySweep {
  RequestId request{};
  SweepId sweep{};
  std::string user;
};
struct HoldSweep {
  RequestId request{};
  SweepId sweep{};
  bool hold = true;  ///< or release
  std::string user;
};
/// Its worker gives back what it has not begun; what it runs is ended, and waits again.
struct CancelJob {
  RequestId request{};
  JobId job{};
  std::string user;
};
struct HoldModel {
  RequestId request{};
  std::string model;
  bool hold = true;
  std::string user;
};
struct SetPolicy {
  RequestId request{};
  policy::Policy policy;
  std::string text;  ///< of the file, for the store
  std::string user;
};

// From workers. A worker names its job by the name that stands in its file; a name that is not known is answered so.

struct Claim {
  RequestId request{};
  std::string job;
  std::string cluster_id;
  int restarts = 0;  ///< of the cluster's job: it was requeued so often
  std::string copy;  ///< drawn by the worker as it starts: the same claim twice is one
  std::vector<std::string> nodes;
};
struct AskLease {
  RequestId request{};
  std::string job;
  Epoch epoch{};
  double time_left = 0;  ///< seconds in which it may still work
  std::uint32_t most = 64;
  std::vector<std::string> loaded;  ///< Need::loads of what it has in memory
  /// What it knows that it holds. A lease that is not among these was granted in an answer that got lost: it is told
  /// again.
  std::vector<Chunk> held;
};
struct Heartbeat {
  RequestId request{};
  std::string job;
  Epoch epoch{};
  struct Held {
    Chunk chunk;
    bool running = false;            ///< or stands behind others in the worker
    std::int64_t done = 0, all = 0;  ///< samples, or steps of a training; 0 and 0: it does not say
    std::string live = {};           ///< of a training: see Lease::live
  };
  std::vector<Held> held;
};
struct Delivered {
  enum class What : std::uint8_t { kDone, kFailed, kReturned };
  Chunk chunk;
  Ticket ticket{};
  std::uint16_t generation = 1;
  What what = What::kDone;
  std::string metrics;  ///< JSON, of kDone
  std::string figures;  ///< JSON, of kDone, or empty
  policy::Cause cause = policy::Cause::kUnknown;
  std::string reason;  ///< of kFailed
  double gpu_seconds = 0;
  double seconds = 0;
};
struct Deliver {
  RequestId request{};
  std::string job;
  Epoch epoch{};
  std::vector<Delivered> items;
};
/// A worker's last words, or what was read of them from its directory.
struct ExitRecord {
  RequestId request{};
  std::string job;
  Epoch epoch{};
  End end = End::kUnknown;
  std::string reason;
};

// From the cluster.

struct Submitted {
  JobId job{};
  std::string cluster_id;
};
struct NotSubmitted {
  enum class Why : std::uint8_t {
    kLater,    ///< the controller is away, a queue is full: the same may work in a while
    kMistake,  ///< no such partition, account, …: it will never work as it stands
    kUnclear,  ///< nobody knows whether the cluster has it: the next look will tell
  };
  JobId job{};
  Why why = Why::kLater;
  std::string reason;  ///< in the cluster's words and ours
};
/// One job as the cluster sees it.
struct Seen {
  enum class Phase : std::uint8_t { kPending, kRunning, kOver, kUnknown };
  std::string name;
  std::string cluster_id;
  Phase phase = Phase::kUnknown;
  std::optional<End> end;  ///< of kOver
  std::string says;
  std::vector<std::string> nodes;
};
/// A query that succeeded. Jobs that it does not name were not there while it ran.
struct Looked {
  Serving asked{};  ///< when it began
  std::vector<Seen> jobs;
};
/// Accounting's and the controller's word on jobs that a look missed or saw over. `complete`: those that are not named
/// are known to neither.
struct History {
  bool complete = false;
  std::vector<std::string> asked;
  std::vector<Seen> jobs;
};
/// All that lay in a job's directory, once it is over. Deliveries come before this, as Deliver.
struct DirectoryRead {
  JobId job{};
  std::optional<ExitRecord> last_words;
  bool started = false;  ///< its script ran: the file with the cluster's id is there
};

// From who tells people outside.

/// It is about to be told: answered kOk to the first who asks, kConflict to others.
struct TakeNotice {
  RequestId request{};
  NoticeId notice{};
};
/// It was told, or could not be.
struct NoticeTold {
  NoticeId notice{};
  int told = 0;         ///< targets that have it; 0 and no problem: nobody asked to be told
  std::string problem;  ///< why others have it not
};

// From within.

/// The daemon has come up: `state` is what the store held.
struct Started {};
struct Tick {};
/// Jobs that the planner would have, best first.
struct PlannedJob {
  NeedId need{};
  SweepId sweep{};  ///< of its best cell: whose limits it counts towards
  Resources resources;
  std::string profile, script_values;
  std::int64_t time_limit = 0;
};
struct Planned {
  std::uint64_t version = 0;  ///< of the state that it was made for: State::plan_version
  std::vector<PlannedJob> jobs;
};

}  // namespace orch::control::event

namespace orch::control {

using Event = std::variant<event::SubmitSweep, event::CancelSweep, event::RetrySweep, event::HoldSweep,
                           event::CancelJob, event::HoldModel, event::SetPolicy, event::Claim, event::AskLease,
                           event::Heartbeat, event::Deliver, event::ExitRecord, event::Submitted, event::NotSubmitted,
                           event::Looked, event::History, event::DirectoryRead, event::TakeNotice, event::NoticeTold,
                           event::Started, event::Tick, event::Planned>;

}  // namespace orch::control
