// The names of states and ends, and which state may follow which: the arrows of docs/states.md.
#include <algorithm>
#include <initializer_list>

#include "control/cell.h"
#include "control/job.h"
#include "control/sweep.h"

namespace orch::control {
namespace {

template <class State>
bool is_one_of(State state, std::initializer_list<State> states) {
  return std::find(states.begin(), states.end(), state) != states.end();
}

}  // namespace

std::string_view name_of(CellState state) {
  switch (state) {
    case CellState::kBlocked:
      return "blocked";
    case CellState::kWaiting:
      return "waiting";
    case CellState::kRunning:
      return "running";
    case CellState::kDone:
      return "done";
    case CellState::kFailed:
      return "failed";
    case CellState::kCancelled:
      return "cancelled";
  }
  return "";
}

bool may_become(CellState from, CellState to) {
  using enum CellState;
  switch (from) {
    case kBlocked:
      return is_one_of(to, {kWaiting, kFailed, kCancelled});
    case kWaiting:
      return is_one_of(to, {kRunning, kBlocked, kDone, kFailed, kCancelled});
    case kRunning:
      return is_one_of(to, {kWaiting, kBlocked, kDone, kFailed, kCancelled});
    case kDone:
      return is_one_of(to, {kWaiting, kBlocked});
    case kFailed:
      return is_one_of(to, {kWaiting, kBlocked, kDone, kCancelled});
    case kCancelled:
      return is_one_of(to, {kWaiting, kBlocked, kDone, kFailed});
  }
  return false;
}

std::string_view name_of(SweepState state) {
  switch (state) {
    case SweepState::kRunning:
      return "running";
    case SweepState::kHeld:
      return "held";
    case SweepState::kDone:
      return "done";
    case SweepState::kFailed:
      return "failed";
    case SweepState::kCancelled:
      return "cancelled";
  }
  return "";
}

bool may_become(SweepState from, SweepState to) {
  using enum SweepState;
  switch (from) {
    case kRunning:
      return is_one_of(to, {kHeld, kDone, kFailed, kCancelled});
    case kHeld:
      return is_one_of(to, {kRunning, kDone, kFailed, kCancelled});
    case kDone:
      return false;
    case kFailed:
      return to == kRunning;
    case kCancelled:
      return to == kRunning;
  }
  return false;
}

std::string_view name_of(JobState state) {
  switch (state) {
    case JobState::kSubmitting:
      return "submitting";
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kDraining:
      return "draining";
    case JobState::kMissing:
      return "missing";
    case JobState::kEnding:
      return "ending";
    case JobState::kEnded:
      return "ended";
  }
  return "";
}

bool may_become(JobState from, JobState to) {
  using enum JobState;
  switch (from) {
    case kSubmitting:
      return is_one_of(to, {kQueued, kRunning, kDraining, kMissing, kEnding, kEnded});
    case kQueued:
      return is_one_of(to, {kRunning, kDraining, kMissing, kEnding});
    case kRunning:
      return is_one_of(to, {kQueued, kDraining, kMissing, kEnding});
    case kDraining:
      return is_one_of(to, {kQueued, kRunning, kMissing, kEnding});
    case kMissing:
      return is_one_of(to, {kQueued, kRunning, kDraining, kEnding});
    case kEnding:
      return to == kEnded;
    case kEnded:
      return false;
  }
  return false;
}

std::string_view name_of(End end) {
  switch (end) {
    case End::kDone:
      return "done";
    case End::kDrained:
      return "drained";
    case End::kSuperseded:
      return "superseded";
    case End::kCancelled:
      return "cancelled";
    case End::kTimeout:
      return "timeout";
    case End::kPreempted:
      return "preempted";
    case End::kNodeFailure:
      return "node_failure";
    case End::kGpuMemory:
      return "gpu_memory";
    case End::kHostMemory:
      return "host_memory";
    case End::kNan:
      return "nan";
    case End::kLostPeer:
      return "lost_peer";
    case End::kBadInput:
      return "bad_input";
    case End::kLaunchFailed:
      return "launch_failed";
    case End::kNotSubmitted:
      return "not_submitted";
    case End::kAbsent:
      return "absent";
    case End::kUnknown:
      return "unknown";
  }
  return "";
}

std::optional<End> end_named(std::string_view name) {
  const auto end = std::find_if(kEnds.begin(), kEnds.end(), [&](End known) { return name_of(known) == name; });
  if (end == kEnds.end()) return std::nullopt;
  return *end;
}

std::optional<policy::Cause> cause_of(End end) {
  switch (end) {
    case End::kTimeout:
      return policy::Cause::kTimeout;
    case End::kPreempted:
      return policy::Cause::kPreempted;
    case End::kNodeFailure:
      return policy::Cause::kNodeFailure;
    case End::kGpuMemory:
      return policy::Cause::kGpuMemory;
    case End::kHostMemory:
      return policy::Cause::kHostMemory;
    case End::kNan:
      return policy::Cause::kNan;
    case End::kLostPeer:
      return policy::Cause::kLostPeer;
    case End::kBadInput:
      return policy::Cause::kBadInput;
    case End::kAbsent:
    case End::kUnknown:
      return policy::Cause::kUnknown;
    case End::kDone:
    case End::kDrained:
    case End::kSuperseded:
    case End::kCancelled:
    case End::kLaunchFailed:
    case End::kNotSubmitted:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace orch::control
