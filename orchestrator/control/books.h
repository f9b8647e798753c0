// Who has how much of what the policy limits: jobs, GPUs and GPU-hours of each sweep and each user, at one moment.
//
// Holds: a job counts towards the sweep that it was submitted for, and towards the user who submitted that sweep. Jobs
// that are not over count with all that their time limit still allows: a budget is never passed because a job took as
// long as it might. What jobs took that have ended stands in the ledger: only the others are walked.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/state.h"
#include "policy/limits.h"

namespace orch::control {

class Step;

class Books {
 public:
  struct Account {
    policy::InUse now;
    double used = 0;      ///< GPU-hours that jobs have had, of a user since the period began
    double promised = 0;  ///< GPU-hours that those which are not over may still take
  };

  Books(const State& state, Now now);
  /// The same, and keeps the sums of a period that has begun since the last time.
  Books(State& state, Now now);
  /// A job that is submitted now.
  void add(const Job& job);

  Account sweep(SweepId id) const;
  Account user(const std::string& name) const;
  /// Who has had jobs, or has some.
  std::set<std::string> users() const;

  /// What the budgets leave to a job of that sweep; nothing where there is no budget.
  std::optional<double> hours_left(SweepId sweep) const;
  /// Why a job that would be submitted now has to wait, or nothing.
  std::optional<std::string> against(const event::PlannedJob& planned) const;

 private:
  /// Of jobs that have not ended.
  struct Open {
    policy::InUse now;
    double used = 0;      ///< GPU-milliseconds
    double promised = 0;  ///< GPU-hours
  };
  Account account(double ended, const Open& open) const;
  const Ledger& ledger() const { return own_ ? *own_ : state_.ledger; }

  const State& state_;
  Now now_;
  Utc since_;                  ///< beginning of the users' period
  std::optional<Ledger> own_;  ///< where the state's is of another period
  std::map<SweepId, Open> sweeps_;
  std::map<std::string, Open, std::less<>> users_;
};

/// Says once in a sweep's life, or a user's period, that 80 % of a budget is used, once that all of it is, and once
/// that work waits because of it.
void warn_of_budgets(Step& step);

}  // namespace orch::control
