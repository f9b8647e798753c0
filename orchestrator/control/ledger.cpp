#include "control/ledger.h"

#include <algorithm>

#include "control/state.h"

namespace orch::control {

double had(const Job& job, Utc since, Utc now) {
  if (job.started == Utc{}) return 0;
  const Utc from = std::max(job.started, since), to = job.ended == Utc{} ? now : job.ended;
  return to <= from ? 0 : static_cast<double>((to - from).count()) * job.resources.gpus;
}

void Ledger::close(const Job& job, const std::string& user) {
  sweeps_[job.sweep] += had(job, Utc::min(), job.ended);
  if (since_) users_[user] += had(job, *since_, job.ended);
}

void Ledger::turn(const State& state, Utc since) {
  since_ = since;
  users_.clear();
  for (const auto& [id, job] : state.jobs)
    if (job.state == JobState::kEnded) users_[state.sweeps[index(job.sweep)].user] += had(job, since, job.ended);
}

double Ledger::sweep(SweepId id) const {
  const auto at = sweeps_.find(id);
  return at == sweeps_.end() ? 0 : at->second;
}

double Ledger::user(const std::string& name) const {
  const auto at = users_.find(name);
  return at == users_.end() ? 0 : at->second;
}

}  // namespace orch::control
