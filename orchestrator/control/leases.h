// Who may work on which chunks, and until when.
//
// Holds:
//  - A chunk is in at most one lease.
//  - Terms run on the daemon's serving time, so an outage expires nothing.
// The caller sees to it that only a job's newest epoch leases, and that a chunk with a result is released.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "control/ids.h"

namespace orch::control {

struct Lease {
  JobId job{};
  Epoch epoch{};
  Ticket ticket{};
  Serving expires{};
  bool running = false;  ///< the worker said so; before, it may stand behind others
  std::int64_t done = 0,
               all = 0;  ///< samples, or steps of a training, as the worker said last; 0 and 0: it does not say
  /// Of a training: its last step's figures, JSON that was looked through (report/curve.h); empty: there is none. Like
  /// `done` it is in memory alone, and goes with the lease.
  std::string live = {};
};

class Leases {
 public:
  explicit Leases(Serving term) : term_(term) {}

  /// False when somebody has it already.
  bool grant(Chunk chunk, JobId job, Epoch epoch, Ticket ticket, Serving now);

  /// A heartbeat: every lease of the job gets a full term from `now`.
  void renew(JobId job, Serving now);

  /// What a heartbeat says of a chunk.
  void set_running(Chunk chunk, bool running, std::int64_t done = 0, std::int64_t all = 0, std::string live = {});

  /// A restart of the daemon: every lease there is gets a full term.
  void renew_all(Serving now);

  /// The chunk is done, or given back. Harmless when it was not leased.
  void release(Chunk chunk);

  const Lease* find(Chunk chunk) const;
  const std::set<Chunk>& of(JobId job) const;
  const std::map<Chunk, Lease>& all() const { return held_; }
  std::size_t size() const { return held_.size(); }

  /// Those whose term is over by `now`, in the order of the chunks; they stay until they are released.
  std::vector<Chunk> expired(Serving now) const;

 private:
  Serving term_;
  std::map<Chunk, Lease> held_;  // ordered: the same events give the same answers
  std::map<JobId, std::set<Chunk>> of_job_;
};

}  // namespace orch::control
