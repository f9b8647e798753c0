// What the daemon is to do, once the transaction that says so is committed.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "control/ids.h"
#include "control/notice.h"

namespace orch::control::action {

/// The answer to an API call.
struct Answer {
  enum class Status : std::uint8_t { kOk, kNotFound, kConflict, kGone };
  /// A chunk that the asker may work on.
  struct Given {
    Chunk chunk;
    Ticket ticket{};
    std::uint16_t generation = 1;
    int attempt = 1;
    double seconds = 0;  ///< it is stopped after so many; what the native engine runs, after so many without progress
    double gpus = 0;
    int cpus = 1;
    std::int64_t memory = 0;  ///< bytes; 0: not said
    double smaller_batch = 1;
    NeedId need{};
    bool native = false;  ///< it needs something to be loaded
    /// Earlier attempts at the chunk that left no result: they may have left something to go on with.
    std::vector<std::pair<JobId, Ticket>> before;
    CellId depends = kNoCell;  ///< the cell whose adapter it needs
  };
  RequestId request{};
  Status status = Status::kOk;
  std::string text;  ///< for people: why not; or the id of what was made

  // Of a claim.
  Epoch epoch{};
  double lease_term = 0;  ///< seconds
  // Of a lease or a heartbeat.
  std::vector<Given> given;
  std::vector<Chunk> drop;    ///< what it has and is to leave: done elsewhere, or wanted no more
  bool drain = false;         ///< it is to take nothing more and end
  bool nothing_left = false;  ///< no cell waits that it could ever take
  double retry_after = 0;     ///< seconds after which it may ask again
  // Of a submission.
  SweepId sweep{};
  std::uint32_t cells = 0, reused = 0;
  // Of a delivery: how many were news.
  std::uint32_t accepted = 0;
};
/// Only once its intent is committed.
struct Submit {
  JobId job{};
};
/// By its name, if the cluster's id is not known.
struct Cancel {
  JobId job{};
};
/// Look at the cluster soon: something is unclear.
struct LookSoon {};
/// Ask accounting and the controller how jobs ended.
struct AskHistory {
  std::vector<JobId> jobs;
};
/// Read what its worker left: deliveries first, then the exit record.
struct ReadDirectory {
  JobId job{};
};
/// Its token delivers no more.
struct Seal {
  JobId job{};
};
/// Plan anew, from a snapshot of the state.
struct Plan {
  std::uint64_t version = 0;
};
/// Tell it, after event::TakeNotice.
struct Notify {
  Notice notice;
};

}  // namespace orch::control::action

namespace orch::control {

using Action = std::variant<action::Answer, action::Submit, action::Cancel, action::LookSoon, action::AskHistory,
                            action::ReadDirectory, action::Seal, action::Plan, action::Notify>;

}  // namespace orch::control
