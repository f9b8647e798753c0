#include "control/books.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "control/step.h"

namespace orch::control {
namespace {

double hours_between(Utc from, Utc to) {
  return std::max(0.0, std::chrono::duration<double>(to - from).count()) / 3600;
}

/// GPU-hours that it may still take.
double promised(const Job& job, Utc now) {
  if (job.is_over()) return 0;
  // Of a job that the cluster began anew it is not known when: its whole limit is before it.
  const double gone = job.started == Utc{} || job.restarts > 0 ? 0 : hours_between(job.started, now);
  return std::max(0.0, static_cast<double>(job.time_limit) / 3600 - gone) * job.resources.gpus;
}

Utc beginning_of_period(const State& state, Utc now) {
  return state.policy.zone.beginning(state.policy.per_user.per, now);
}

/// Sums of what has ended, from the beginning of the users' period: the state's own if they are of that.
Ledger& brought_up(State& state, Utc since) {
  if (!state.ledger.counts_from(since)) state.ledger.turn(state, since);
  return state.ledger;
}

}  // namespace

Books::Books(const State& state, Now now) : state_(state), now_(now), since_(beginning_of_period(state, now.utc)) {
  if (!state.ledger.counts_from(since_)) {
    own_ = state.ledger;
    own_->turn(state, since_);
  }
  for (const JobId id : state.open_jobs) add(state.jobs.at(id));
}

Books::Books(State& state, Now now)
    : Books((brought_up(state, beginning_of_period(state, now.utc)), std::as_const(state)), now) {}

void Books::add(const Job& job) {
  Open& of_sweep = sweeps_[job.sweep];
  Open& of_user = users_[state_.sweeps[index(job.sweep)].user];
  of_sweep.used += had(job, Utc::min(), now_.utc);
  of_user.used += had(job, since_, now_.utc);
  if (job.is_over()) return;
  for (Open* open : {&of_sweep, &of_user}) {
    open->promised += promised(job, now_.utc);
    ++open->now.jobs;
    open->now.gpus += static_cast<int>(job.resources.gpus);
    open->now.queued += static_cast<int>(!job.has_worker());
  }
}

Books::Account Books::account(double ended, const Open& open) const {
  return {open.now, (ended + open.used) / kGpuHour, open.promised};
}

Books::Account Books::sweep(SweepId id) const {
  const auto at = sweeps_.find(id);
  return account(state_.ledger.sweep(id), at == sweeps_.end() ? Open{} : at->second);
}

Books::Account Books::user(const std::string& name) const {
  const auto at = users_.find(name);
  return account(ledger().user(name), at == users_.end() ? Open{} : at->second);
}

std::set<std::string> Books::users() const {
  std::set<std::string> names;
  for (const auto& [name, used] : ledger().users()) names.insert(name);
  for (const auto& [name, open] : users_) names.insert(name);
  return names;
}

std::optional<double> Books::hours_left(SweepId sweep) const {
  std::optional<double> left;
  const auto narrow = [&](const policy::Limits& limits, const Account& has) {
    if (!limits.gpu_hours) return;
    const double rest = *limits.gpu_hours - has.used - has.promised;
    left = left ? std::min(*left, rest) : rest;
  };
  narrow(state_.policy.per_sweep, this->sweep(sweep));
  narrow(state_.policy.per_user, user(state_.sweeps[index(sweep)].user));
  return left;
}

std::optional<std::string> Books::against(const event::PlannedJob& planned) const {
  const Sweep& sweep = state_.sweeps[index(planned.sweep)];
  const int gpus = static_cast<int>(planned.resources.gpus);
  const double more = planned.resources.gpus * static_cast<double>(planned.time_limit) / 3600;
  const struct {
    const policy::Limits& limits;
    Account has;
    std::string whose;
  } levels[] = {{state_.policy.per_sweep, this->sweep(planned.sweep), "sweep " + shown(sweep.name)},
                {state_.policy.per_user, user(sweep.user), "user " + shown(sweep.user)}};
  for (const auto& level : levels) {
    if (auto why = policy::not_now(level.limits, level.has.now, gpus, level.whose)) return why;
    if (auto why = policy::over_budget(level.limits, level.has.used + level.has.promised, more, level.whose))
      return why;
  }
  return std::nullopt;
}

namespace {

struct Level {
  double share;
  std::string_view name;
};
constexpr std::array kLevels = {Level{0.8, "80"}, Level{1.0, "100"}};

/// Facts of this form say what was told already.
/// A budget that is raised is another one.
std::string fact_of(const std::string& whose, double budget, std::string_view level) {
  return "warned:" + whose + ":" + format_fixed(budget, 3) + ":" + std::string(level);
}

void warn(Step& step, const std::string& key, const policy::Limits& limits, double used, const std::string& whose,
          std::optional<SweepId> sweep) {
  for (const Level& level : kLevels) {
    if (used < level.share * *limits.gpu_hours || *limits.gpu_hours <= 0) continue;
    const std::string fact = fact_of(key, *limits.gpu_hours, level.name);
    if (!step.state.warned.insert(fact).second) continue;
    step.put(row::PutFact{fact, "1"});
    // A jump over both is told once.
    if (&level != &kLevels.back() && used >= kLevels.back().share * *limits.gpu_hours) continue;
    step.notify(NoticeKind::kBudget, sweep,
                whose + " has used " + policy::used_of_budget(limits, used) +
                    (&level == &kLevels.back() ? "; nothing more is begun until the budget is raised or renewed" : ""));
  }
}

bool is_of_a_live_sweep(const State& state, const std::string& fact) {
  constexpr std::string_view kSweep = "warned:sweep:";
  if (!fact.starts_with(kSweep)) return false;
  std::uint32_t number = 0;
  std::from_chars(fact.data() + kSweep.size(), fact.data() + fact.size(), number);
  return number < state.sweeps.size() && is_live(state.sweeps[number].state);
}

/// Once for each budget: work waits because of it.
void warn_of_what_waits(Step& step, const Books& books, const std::string& period) {
  const policy::Policy& policy = step.state.policy;
  for (const event::PlannedJob& planned : step.state.plan) {
    const Sweep& sweep = step.state.sweeps[index(planned.sweep)];
    const double more = planned.resources.gpus * static_cast<double>(planned.time_limit) / 3600;
    const auto tell = [&](const std::string& key, const policy::Limits& limits, const Books::Account& has,
                          const std::string& whose, std::optional<SweepId> about) {
      const auto why = policy::over_budget(limits, has.used + has.promised, more, whose);
      if (!why) return;
      const std::string fact = fact_of(key, *limits.gpu_hours, "waits");
      if (!step.state.warned.insert(fact).second) return;
      step.put(row::PutFact{fact, "1"});
      step.notify(NoticeKind::kBudget, about, "a job of sweep " + shown(sweep.name) + " is kept back: it " + *why);
    };
    tell("user:" + period + sweep.user, policy.per_user, books.user(sweep.user), "user " + shown(sweep.user),
         std::nullopt);
    tell("sweep:" + std::to_string(index(sweep.id)), policy.per_sweep, books.sweep(sweep.id),
         "sweep " + shown(sweep.name), sweep.id);
  }
}

/// What was told of periods and sweeps that are over is forgotten.
void forget_old_warnings(Step& step, const std::string& period) {
  for (auto at = step.state.warned.begin(); at != step.state.warned.end();) {
    const bool current = at->starts_with("warned:user:" + period) || is_of_a_live_sweep(step.state, *at);
    if (!current) step.put(row::PutFact{*at, ""});
    at = current ? std::next(at) : step.state.warned.erase(at);
  }
}

}  // namespace

void warn_of_budgets(Step& step) {
  const policy::Limits &of_user = step.state.policy.per_user, &of_sweep = step.state.policy.per_sweep;
  if (!of_user.gpu_hours && !of_sweep.gpu_hours && step.state.warned.empty()) return;
  const Books books(step.state, step.now);
  const Utc began = beginning_of_period(step.state, step.now.utc);
  const std::string period =
      std::string(policy::name_of(of_user.per)) + "-" +
      (of_user.per == policy::Period::kEver ? "" : std::to_string(began.time_since_epoch().count())) + ":";
  forget_old_warnings(step, period);
  warn_of_what_waits(step, books, period);
  if (of_user.gpu_hours)
    for (const std::string& name : books.users())
      warn(step, "user:" + period + name, of_user, books.user(name).used, "user " + shown(name), std::nullopt);
  if (of_sweep.gpu_hours)
    for (const Sweep& sweep : step.state.sweeps)
      if (is_live(sweep.state))
        warn(step, "sweep:" + std::to_string(index(sweep.id)), of_sweep, books.sweep(sweep.id).used,
             "sweep " + shown(sweep.name), sweep.id);
}

}  // namespace orch::control
