// Limits of users and sweeps, and what people are told of their budgets.
#include "control/books.h"

#include <gmock/gmock.h>

#include <array>
#include <utility>

#include "control/step.h"
#include "desk.h"
#include "sim/clock.h"

namespace orch::control {
namespace {

using test::Desk;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;

constexpr std::int64_t kHour = 3600;

/// A sweep of that user, without cells: jobs are put beside it by hand.
SweepId sweep_of(State& state, const std::string& user) {
  Sweep sweep;
  sweep.id = SweepId{static_cast<std::uint32_t>(state.sweeps.size())};
  sweep.name = user + "s";
  sweep.user = user;
  state.sweeps.push_back(sweep);
  return sweep.id;
}

Job& add_job(Desk& desk, SweepId sweep, double gpus, JobState as, Utc started = {}, Utc ended = {}) {
  Job job;
  job.id = JobId{desk.state.next_job++};
  job.name = "orch-desk-" + std::to_string(index(job.id));
  job.sweep = sweep;
  job.resources = {1, gpus, 1, 0};
  job.time_limit = 2 * kHour;
  job.state = as;
  job.started = started;
  job.ended = ended;
  if (as == JobState::kEnded)
    desk.state.ledger.close(job, desk.state.sweeps[index(sweep)].user);
  else
    desk.state.open_jobs.insert(job.id);
  return desk.state.jobs.emplace(job.id, job).first->second;
}

std::optional<std::string> against(const Desk& desk, SweepId sweep, double gpus) {
  event::PlannedJob planned;
  planned.sweep = sweep;
  planned.resources = {1, gpus, 1, 0};
  planned.time_limit = 2 * kHour;
  return Books(desk.state, desk.now).against(planned);
}

std::vector<std::string> told(const Desk& desk) {
  std::vector<std::string> texts;
  for (const auto& notify : desk.all<action::Notify>())
    if (notify.notice.kind == NoticeKind::kBudget) texts.push_back(notify.notice.text);
  return texts;
}

TEST(Books, LimitsOfAUserAreThoseOfEachUser) {
  Desk desk;
  desk.state.policy.per_user.max_jobs = 1;
  const SweepId mara = sweep_of(desk.state, "mara"), ivo = sweep_of(desk.state, "ivo");
  add_job(desk, mara, 8, JobState::kRunning);
  EXPECT_THAT(against(desk, mara, 8), Optional(HasSubstr("user mara has 1 of 1 job at once")));
  EXPECT_EQ(against(desk, ivo, 8), std::nullopt);
  EXPECT_THAT(against(desk, sweep_of(desk.state, "mara"), 8), Optional(HasSubstr("user mara"))) << "in any sweep";
}

TEST(Books, JobsInTheQueueHoldGpusToo) {
  Desk desk;
  desk.state.policy.per_user.max_gpus = 16;
  const SweepId sweep = sweep_of(desk.state, "mara");
  add_job(desk, sweep, 8, JobState::kQueued);
  EXPECT_EQ(against(desk, sweep, 8), std::nullopt);
  add_job(desk, sweep, 4, JobState::kSubmitting);
  EXPECT_THAT(against(desk, sweep, 8), Optional(HasSubstr("12 of 16 GPUs")));
  for (const JobState to : {JobState::kEnding, JobState::kEnded})
    Step(desk.state, desk.now).set(desk.state.jobs.begin()->second, to);
  EXPECT_EQ(against(desk, sweep, 8), std::nullopt);
}

TEST(Books, BudgetCountsWhatJobsHadAndWhatTheirLimitsAllow) {
  Desk desk;
  desk.state.policy.per_sweep.gpu_hours = 40;
  const SweepId sweep = sweep_of(desk.state, "mara");
  const Utc now = desk.now.utc;
  // 8 GPUs for an hour, over: 8. 4 GPUs for half an hour of two: 2, and 6 promised. 4 GPUs in the queue: 8 promised.
  add_job(desk, sweep, 8, JobState::kEnded, now - std::chrono::hours(3), now - std::chrono::hours(2));
  add_job(desk, sweep, 4, JobState::kRunning, now - std::chrono::minutes(30));
  add_job(desk, sweep, 4, JobState::kQueued);
  const Books::Account account = Books(desk.state, desk.now).sweep(sweep);
  EXPECT_DOUBLE_EQ(account.used, 10);
  EXPECT_DOUBLE_EQ(account.promised, 14);
  EXPECT_EQ(against(desk, sweep, 8), std::nullopt) << "24 and 16 are 40";
  EXPECT_THAT(against(desk, sweep, 9), Optional(HasSubstr("would bring sweep maras to 42 of 40 GPU-hours")));
}

TEST(Books, BudgetOfADayIsRenewedAtMidnightOfTheZone) {
  Desk desk;
  desk.state.policy.per_user.gpu_hours = 20;
  desk.state.policy.per_user.per = policy::Period::kDay;
  desk.state.policy.zone = *policy::Zone::named("Europe/Stockholm");
  const SweepId sweep = sweep_of(desk.state, "mara");
  // 8 GPUs from 20:00 to 00:00 UTC; in Stockholm the day ends at 23:00.
  const Utc evening = std::chrono::sys_days(std::chrono::year(2026) / 11 / 20) + std::chrono::hours(20);
  add_job(desk, sweep, 8, JobState::kEnded, evening, evening + std::chrono::hours(4));
  desk.now.utc = evening + std::chrono::hours(4) + std::chrono::minutes(1);
  EXPECT_DOUBLE_EQ(Books(desk.state, desk.now).user("mara").used, 8) << "of the new day";
  EXPECT_EQ(against(desk, sweep, 6), std::nullopt);
  EXPECT_THAT(against(desk, sweep, 7), Optional(HasSubstr("to 22 of 20 GPU-hours today")));
  desk.state.policy.zone = policy::Zone();
  EXPECT_DOUBLE_EQ(Books(desk.state, desk.now).user("mara").used, 0) << "all of it was the day before";
}

TEST(Books, OfWhatWasWrittenAreTheSameAfterARestart) {
  Desk desk;
  desk.submit(1);
  const std::string job = desk.run_job();
  desk.wait(1800);
  desk.end_job(job, End::kDrained);
  desk.wait(100'000);
  const Books before(desk.state, desk.now);
  const State restored = desk.tables.restore(desk.state.policy, "desk", desk.state.rules);
  const Books after(restored, desk.now);
  EXPECT_DOUBLE_EQ(before.user("mara").used, 0.5);
  EXPECT_DOUBLE_EQ(after.user("mara").used, 0.5);
}

TEST(Books, LimitsBelowANodesGpusLetSmallerJobsRun) {
  Desk desk;
  desk.state.policy.per_user.max_gpus = 1;
  // Models of which each takes a GPU and a while: side by side they would be jobs of two.
  event::SubmitSweep sweep;
  for (std::uint32_t i = 0; i < 8; ++i) {
    sweep.needs.push_back(Desk::need());
    sweep.needs.back().loads = "model " + std::to_string(i);
    sweep.needs.back().load = 100;
    sweep.needs.back().whole_nodes = true;
    event::AskedCell cell;
    cell.key.bytes[0] = static_cast<std::uint8_t>(i);
    cell.need = i;
    cell.expected = cell.bound = 3000;
    sweep.cells.push_back(cell);
  }
  desk.ask(sweep);
  int gpus = 0;
  for (const auto& [id, job] : desk.state.jobs) gpus += static_cast<int>(job.resources.gpus);
  EXPECT_EQ(gpus, 1) << "a job of two would never start";
}

TEST(Books, WhatIsLeftOfABudgetIsUsedByAShorterJob) {
  Desk desk;
  desk.state.policy.per_user.gpu_hours = 2;
  desk.submit(60, 600);  // ten GPU-hours, in pieces of at most four
  double promised = 0;
  for (const auto& [id, job] : desk.state.jobs)
    promised += job.resources.gpus * static_cast<double>(job.time_limit) / kHour;
  EXPECT_GT(promised, 0.5);
  EXPECT_LE(promised, 2);
}

TEST(Books, OfAJobThatWasRequeuedPromiseAllOfItsLimit) {
  Desk desk;
  const SweepId sweep = sweep_of(desk.state, "mara");
  Job& job = add_job(desk, sweep, 4, JobState::kRunning, desk.now.utc - std::chrono::minutes(110));
  EXPECT_NEAR(Books(desk.state, desk.now).user("mara").promised, 4 / 6.0, 1e-9);
  job.restarts = 1;
  EXPECT_DOUBLE_EQ(Books(desk.state, desk.now).user("mara").promised, 8);
}

TEST(Books, SayThatAJobNeverFitsABudget) {
  Desk desk;
  desk.state.policy.per_user.gpu_hours = 3;
  EXPECT_THAT(against(desk, sweep_of(desk.state, "mara"), 2),
              Optional(HasSubstr("may take 4 GPU-hours, more than all of the budget of user mara (3)")));
}

/// What the Holds of books.h says, by a walk over all jobs.
Books::Account walked(const State& state, Now now, std::optional<SweepId> sweep, const std::string& user) {
  Books::Account account;
  const Utc since = sweep ? Utc::min() : state.policy.zone.beginning(state.policy.per_user.per, now.utc);
  for (const auto& [id, job] : state.jobs) {
    if (sweep ? job.sweep != *sweep : state.sweeps[index(job.sweep)].user != user) continue;
    const auto hours = [](Utc from, Utc to) {
      return std::chrono::duration<double, std::ratio<3600>>(to - from).count();
    };
    const Utc until = job.state == JobState::kEnded ? job.ended : now.utc;
    if (job.started != Utc{})
      account.used += std::max(0.0, hours(std::max(job.started, since), until)) * job.resources.gpus;
    if (job.is_over()) continue;
    const double gone = job.started == Utc{} ? 0 : hours(job.started, now.utc);
    account.promised += std::max(0.0, static_cast<double>(job.time_limit) / kHour - gone) * job.resources.gpus;
    ++account.now.jobs;
    account.now.gpus += static_cast<int>(job.resources.gpus);
    account.now.queued += job.state != JobState::kRunning && job.state != JobState::kDraining;
  }
  return account;
}

void expect_as_walked(const State& state, Now now, const Books& books) {
  const auto same = [](const Books::Account& is, const Books::Account& walk, const std::string& whose) {
    EXPECT_NEAR(is.used, walk.used, 1e-9 * (1 + walk.used)) << whose;
    EXPECT_NEAR(is.promised, walk.promised, 1e-9 * (1 + walk.promised)) << whose;
    EXPECT_EQ(is.now.jobs, walk.now.jobs) << whose;
    EXPECT_EQ(is.now.gpus, walk.now.gpus) << whose;
    EXPECT_EQ(is.now.queued, walk.now.queued) << whose;
  };
  for (const char* user : {"mara", "ivo", "li"}) same(books.user(user), walked(state, now, std::nullopt, user), user);
  for (const Sweep& sweep : state.sweeps) same(books.sweep(sweep.id), walked(state, now, sweep.id, ""), sweep.name);
}

TEST(Books, AreThoseOfAWalkOverAllJobsThatEverWere) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    sim::Random random(seed);
    Desk desk;
    State& state = desk.state;
    state.policy.per_user.per = std::array{policy::Period::kEver, policy::Period::kDay, policy::Period::kWeek,
                                           policy::Period::kMonth}[seed % 4];
    state.policy.zone = *policy::Zone::named(seed % 2 ? "Europe/Stockholm" : "Asia/Tokyo");
    std::vector<SweepId> sweeps;
    for (const char* user : {"mara", "ivo", "li", "mara"}) sweeps.push_back(sweep_of(state, user));
    for (int i = 0; i < 400; ++i) {
      desk.wait(static_cast<double>(random.between(0, random.chance(0.02) ? 86'400'000 : 3'600'000)) / 1000);
      Step step(state, desk.now);
      if (state.open_jobs.empty() || random.chance(0.4)) {
        const double gpus[] = {0, 0.5, 0.25, 1, 3, 8, 16};
        add_job(desk, sweeps[static_cast<std::size_t>(random.between(0, 3))], gpus[random.between(0, 6)],
                JobState::kQueued);
      } else {
        auto open = state.open_jobs.begin();
        std::advance(open, random.between(0, static_cast<std::int64_t>(state.open_jobs.size()) - 1));
        Job& job = state.jobs.at(*open);
        if (job.state == JobState::kQueued && random.chance(0.8)) {
          job.started = desk.now.utc;
          step.set(job, JobState::kRunning);
        } else if (job.state != JobState::kEnding) {
          step.set(job, JobState::kEnding);
        } else {
          job.ended = desk.now.utc;
          step.set(job, JobState::kEnded);
        }
      }
      if (random.chance(0.2)) expect_as_walked(state, desk.now, Books(std::as_const(state), desk.now));
      if (random.chance(0.2)) expect_as_walked(state, desk.now, Books(state, desk.now));
      if (random.chance(0.01)) state.policy.zone = *policy::Zone::named("America/New_York");
    }
  }
}

TEST(Budget, ThatKeepsWorkBackIsToldOnce) {
  Desk desk;
  desk.state.policy.per_user.gpu_hours = 0.1;
  desk.submit(1, 600);
  desk.put(event::Tick{});
  desk.put(event::Tick{});
  ASSERT_THAT(told(desk), SizeIs(1));
  EXPECT_THAT(told(desk)[0], HasSubstr("a job of sweep s is kept back: it may take"));
  desk.state.policy.per_user.gpu_hours = 0.2;
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), SizeIs(2)) << "another budget";
}

TEST(Budget, IsWarnedOfOnceAtFourFifthsAndOnceAtItsEnd) {
  Desk desk;
  desk.state.policy.per_user.gpu_hours = 10;
  desk.state.policy.per_user.per = policy::Period::kDay;
  const SweepId sweep = sweep_of(desk.state, "mara");
  desk.now.utc = std::chrono::sys_days(std::chrono::year(2026) / 11 / 20) + std::chrono::hours(8);
  Job& job = add_job(desk, sweep, 1, JobState::kRunning, desk.now.utc);
  job.time_limit = 24 * kHour;
  desk.wait(7.9 * kHour);
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), IsEmpty());
  desk.wait(0.2 * kHour);
  desk.put(event::Tick{});
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), ElementsAre("user mara has used 8.1 of 10 GPU-hours today"));
  desk.wait(2 * kHour);
  desk.put(event::Tick{});
  desk.put(event::Tick{});
  ASSERT_THAT(told(desk), SizeIs(2));
  EXPECT_THAT(told(desk)[1], HasSubstr("10.1 of 10 GPU-hours today; nothing more is begun"));
  // A restart does not tell it again; the next day does, and what was told of this one is forgotten.
  desk.state.warned.clear();
  for (const auto& [name, value] : desk.tables.facts)
    if (name.starts_with("warned:")) desk.state.warned.insert(name);
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), SizeIs(2));
  desk.wait(14 * kHour);
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), SizeIs(3));
  EXPECT_THAT(desk.state.warned, SizeIs(1));
}

TEST(Budget, OfASweepIsWarnedOfWhileItLives) {
  Desk desk;
  desk.state.policy.per_sweep.gpu_hours = 1;
  desk.submit(1, 100);
  const std::string job = desk.run_job();
  desk.wait(0.9 * kHour);
  desk.put(event::Tick{});
  EXPECT_THAT(told(desk), ElementsAre("sweep s has used 0.9 of 1 GPU-hours"));
  EXPECT_EQ(desk.all<action::Notify>().back().notice.sweep, SweepId{0});
}

}  // namespace
}  // namespace orch::control
