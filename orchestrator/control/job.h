// A job: an allocation in which a worker leases cells until nothing fits in the time that is left.
//
// Holds: a state changes only along the arrows of docs/states.md (may_become).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/ids.h"
#include "control/need.h"
#include "policy/policy.h"

namespace orch::control {

enum class JobState : std::uint8_t {
  kSubmitting,  ///< the intent is written; the cluster may have seen it or not
  kQueued,      ///< the cluster has it, and its worker has not called yet
  kRunning,     ///< its worker has claimed it
  kDraining,    ///< runs, and is to take nothing more
  kMissing,     ///< the cluster does not know it any more, and nothing says how it ended; still watched
  kEnding,      ///< it is over; what lies in its directory is being read
  kEnded,
};
inline constexpr std::array kJobStates = {JobState::kSubmitting, JobState::kQueued,  JobState::kRunning,
                                          JobState::kDraining,   JobState::kMissing, JobState::kEnding,
                                          JobState::kEnded};
std::string_view name_of(JobState state);
bool may_become(JobState from, JobState to);

/// How a job ended. The first that is known holds: the worker's exit record, then accounting, then the controller,
/// then absence.
enum class End : std::uint8_t {
  kDone,        ///< nothing was left to lease
  kDrained,     ///< its time was nearly over, or it was told to stop
  kSuperseded,  ///< another copy of it runs
  kCancelled,   ///< by somebody, through us or not
  kTimeout,
  kPreempted,
  kNodeFailure,
  kGpuMemory,
  kHostMemory,
  kNan,
  kLostPeer,
  kBadInput,
  kLaunchFailed,  ///< the script ended before its worker called
  kNotSubmitted,  ///< the cluster refused it, or never saw it
  kAbsent,        ///< gone without a word for longer than the grace
  kUnknown,
};
inline constexpr std::array kEnds = {End::kDone,         End::kDrained,      End::kSuperseded,  End::kCancelled,
                                     End::kTimeout,      End::kPreempted,    End::kNodeFailure, End::kGpuMemory,
                                     End::kHostMemory,   End::kNan,          End::kLostPeer,    End::kBadInput,
                                     End::kLaunchFailed, End::kNotSubmitted, End::kAbsent,      End::kUnknown};
std::string_view name_of(End end);
std::optional<End> end_named(std::string_view name);

/// The cause whose remedies the cells get that were running when a job ended so; none: they go back, unharmed.
std::optional<policy::Cause> cause_of(End end);

struct Job {
  JobId id{};
  std::string name;  ///< in the cluster: `orch-<instance>-<number>`, never used twice
  NeedId need{};     ///< for whose cells it was submitted
  SweepId sweep{};   ///< whose limits it counts towards
  Resources resources;
  std::string environment;
  std::string profile;
  std::string script_values;    ///< JSON; what its script is rendered from
  std::int64_t time_limit = 0;  ///< seconds
  std::vector<std::string> excluded_nodes;

  JobState state = JobState::kSubmitting;
  std::string cluster_id;    ///< Slurm's; empty: not known yet
  std::string cluster_says;  ///< `PENDING (Resources)`, for people
  Epoch epoch{};             ///< 0: never claimed
  int restarts = 0;
  std::string copy;  ///< of the worker that claimed it
  std::vector<std::string> nodes;
  std::uint32_t taken = 0;      ///< chunks that it leased
  bool passed_over = false;     ///< at its last question cells waited that it could not take
  std::uint32_t delivered = 0;  ///< chunks
  double gpu_seconds = 0;
  Utc submitted{}, started{}, ended{};
  std::optional<End> end;
  std::string reason;  ///< of its end, or of why it stands where it is
  bool cancel_asked = false;

  bool is_over() const { return state == JobState::kEnding || state == JobState::kEnded; }
  bool has_worker() const { return state == JobState::kRunning || state == JobState::kDraining; }
};

}  // namespace orch::control
