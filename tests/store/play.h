// A daemon's life at random: every kind of event, in any order, with texts that a database might stumble over.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/planning.h"
#include "control/state.h"
#include "policy/read.h"
#include "policy/remedy.h"
#include "sim/clock.h"

namespace orch::store::test {

class Play {
 public:
  Play(std::uint64_t seed, std::string instance)
      : random_(seed), state(policy::shipped("default"), std::move(instance)) {
    put(control::event::Started{});
  }

 private:
  sim::Random random_;

 public:
  control::State state;

  /// The effects of what happened since the last call: one group.
  std::vector<control::Effects> take() { return std::exchange(effects_, {}); }

  /// The daemon begins anew with this state.
  void restart(control::State with) {
    state = std::move(with);
    put(control::event::Started{});
  }

  bool chance(double probability) { return random_.chance(probability); }

  void step() {
    using namespace control;
    wait(random_.between(10, 30'000));
    switch (random_.between(0, 13)) {
      case 0:
        return submit_sweep();
      case 1:
        return put(event::CancelSweep{{}, any_sweep(), text()});
      case 2:
        return put(event::RetrySweep{{}, any_sweep(), text()});
      case 3:
        return put(event::HoldSweep{{}, any_sweep(), random_.chance(0.5), text()});
      case 4:
        return put(event::HoldModel{{}, model(), random_.chance(0.3), "root"});
      case 5:
        return put(event::SetPolicy{{}, state.policy, text(), text()});
      case 6:
        return answer_submissions();
      case 7:
        return claim();
      case 8:
      case 9:
        return lease();
      case 10:
        return deliver();
      case 11:
        return end_job();
      case 12:
        return look();
      default:
        wait(random_.between(0, 300'000));
        return put(event::Tick{});
    }
  }

 private:
  void wait(std::int64_t milliseconds) {
    now_.serving += std::chrono::milliseconds(milliseconds);
    now_.utc += std::chrono::milliseconds(milliseconds);
  }

  void put(control::Event event) {
    using namespace control;
    effects_.push_back(apply(state, std::move(event), now_));
    // By value: a plan is put in from here, and makes more effects.
    const std::vector<Action> actions = effects_.back().actions;
    for (const Action& action : actions) {
      if (const auto* submit = std::get_if<action::Submit>(&action)) submissions_.push_back(submit->job);
      if (std::holds_alternative<action::Plan>(action)) put(plan_jobs(snapshot(state, now_)));
    }
  }

  std::string text() {
    using namespace std::string_literals;
    static const std::vector<std::string> kTexts = {""s,
                                                    "plain"s,
                                                    "it's \"quoted\"; DROP TABLE cells; --"s,
                                                    "a\0zero"s,
                                                    "ü → 🙂"s,
                                                    "two\nlines\t"s,
                                                    "{\"a\": [1, 2]}"s,
                                                    std::string(9000, 'x'),
                                                    "?1 :a @b $c %s"s};
    return kTexts[static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(kTexts.size()) - 1))];
  }
  std::string model() { return "m" + std::to_string(random_.between(0, 3)) + "'"; }
  std::vector<std::string> nodes() {
    std::vector<std::string> nodes;
    for (std::int64_t i = random_.between(0, 2); i > 0; --i)
      nodes.push_back("n\"" + std::to_string(random_.between(1, 4)));
    return nodes;
  }
  control::SweepId any_sweep() {
    return control::SweepId{
        static_cast<std::uint32_t>(random_.between(0, static_cast<std::int64_t>(state.sweeps.size())))};
  }
  /// Nothing when there is none of the kind.
  template <class Suits>
  control::Job* any_job(Suits&& suits) {
    std::vector<control::Job*> found;
    for (auto& [id, job] : state.jobs)
      if (suits(job)) found.push_back(&job);
    if (found.empty()) return nullptr;
    return found[static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(found.size()) - 1))];
  }

  control::Need need(int which) {
    control::Need need;
    need.resources = {1, which == 0 ? 0.5 : which, 1, which == 2 ? std::int64_t{1} << 35 : 0};
    need.environment = "e";
    need.profile = "p" + std::to_string(which);
    need.script_values = "{\"which\": " + std::to_string(which) + "}";
    need.loads = which == 1 ? "" : "loads " + std::to_string(which);
    need.trains = which == 2;
    need.load = 0.1 * which;
    need.most = 24 * 3600;
    need.batch = 4 * which;
    need.nodes_there = 4;
    need.whole_nodes = which == 2;
    if (which != 2) need.rooms = {{1, 1, 4, 0}, {1, 2.5, 8, 1 << 20}, {1, 4, 16, 0}};
    return need;
  }

  void submit_sweep() {
    using namespace control;
    event::SubmitSweep sweep;
    sweep.name = text();
    sweep.user = text();
    sweep.request_key = random_.chance(0.5) ? "" : "request " + std::to_string(random_.between(0, 30));
    sweep.matrix = text();
    sweep.rejected = text();
    sweep.rejected_cells = random_.between(0, 5);
    sweep.fresh = random_.chance(0.3);
    for (int i = 0; i < 3; ++i) sweep.needs.push_back(need(i));
    std::map<int, std::uint32_t> in_sweep;
    for (std::int64_t i = random_.between(1, 12); i > 0; --i) {
      const int which = static_cast<int>(random_.between(0, 79));
      if (in_sweep.contains(which)) continue;
      event::AskedCell cell;
      cell.key.bytes.fill(static_cast<std::uint8_t>(which));
      cell.key.bytes[5] = 0;
      cell.need = static_cast<std::uint32_t>(which % 3);
      if (which % 5 == 1) {  // always of the same maker, as its content would say
        const auto maker = in_sweep.find(which - 1);
        if (maker == in_sweep.end()) continue;
        cell.depends = maker->second;
      }
      cell.model = model();
      cell.task = "t" + std::to_string(which % 4);
      cell.expected = static_cast<float>(which) + 0.1f;
      cell.bound = cell.expected * 1.3f;
      cell.work = Work{static_cast<std::uint64_t>(which % 7)};
      cell.basis = planner::kBases[static_cast<std::size_t>(which) % planner::kBases.size()];
      cell.chunks = which % 4 == 0 ? 3 : 1;
      cell.score = static_cast<float>(which) / 7;
      cell.content = "content of " + std::to_string(which) + text();
      cell.settings = text();
      in_sweep.emplace(which, static_cast<std::uint32_t>(sweep.cells.size()));
      sweep.cells.push_back(std::move(cell));
    }
    if (!sweep.cells.empty()) put(std::move(sweep));
  }

  void answer_submissions() {
    using namespace control;
    for (const JobId job : std::exchange(submissions_, {})) {
      if (!state.jobs.contains(job)) continue;
      const bool seen = state.jobs.at(job).state != JobState::kSubmitting;  // a look was quicker
      if (seen || random_.chance(0.8))
        put(event::Submitted{job, std::to_string(1000 + index(job))});
      else
        put(event::NotSubmitted{job, static_cast<event::NotSubmitted::Why>(random_.between(0, 2)), text()});
    }
  }

  void claim() {
    const control::Job* job = any_job([](const control::Job& it) { return !it.is_over(); });
    if (!job) return;
    put(control::event::Claim{{},
                              job->name,
                              job->cluster_id.empty() ? std::to_string(1000 + index(job->id)) : job->cluster_id,
                              job->restarts + static_cast<int>(random_.between(0, 1)),
                              "copy" + std::to_string(random_.between(0, 3)),
                              nodes()});
  }

  void lease() {
    using namespace control;
    const Job* job = any_job([](const Job& it) { return it.has_worker(); });
    if (!job) return claim();
    const std::set<Chunk> held = state.leases.of(job->id);
    put(event::AskLease{{}, job->name, job->epoch, 36'000, 8, {"loads 0"}, {held.begin(), held.end()}});
    event::Heartbeat beat{{}, job->name, job->epoch, {}};
    for (const Chunk& chunk : state.leases.of(job->id)) beat.held.push_back({chunk, random_.chance(0.7)});
    put(std::move(beat));
  }

  void deliver() {
    using namespace control;
    const Job* job = any_job([&](const Job& it) { return !state.leases.of(it.id).empty(); });
    if (!job) return lease();
    event::Deliver deliver{{}, job->name, job->epoch, {}};
    for (const Chunk& chunk : state.leases.of(job->id)) {
      if (random_.chance(0.4)) continue;
      event::Delivered item;
      item.chunk = chunk;
      item.ticket = state.leases.find(chunk)->ticket;
      item.generation = state.cells[index(chunk.cell)].generation;
      item.what = random_.chance(0.6)   ? event::Delivered::What::kDone
                  : random_.chance(0.8) ? event::Delivered::What::kFailed
                                        : event::Delivered::What::kReturned;
      item.metrics = text();
      item.reason = text();
      item.cause = policy::kCauses[static_cast<std::size_t>(random_.between(0, 9))];
      item.gpu_seconds = 0.1 * static_cast<double>(random_.between(0, 1000));
      item.seconds = 1.0 / 3;
      deliver.items.push_back(std::move(item));
    }
    put(std::move(deliver));
  }

  void end_job() {
    using namespace control;
    const Job* job = any_job([](const Job& it) { return it.state != JobState::kEnded; });
    if (!job || random_.chance(0.5)) return;
    const JobId id = job->id;
    put(event::ExitRecord{{}, job->name, job->epoch, kEnds[static_cast<std::size_t>(random_.between(0, 15))], text()});
    if (random_.chance(0.7)) put(event::DirectoryRead{id, std::nullopt, random_.chance(0.8)});
  }

  void look() {
    using namespace control;
    event::Looked look;
    look.asked = now_.serving;
    wait(100);
    for (const auto& [id, job] : state.jobs) {
      if (job.is_over() || random_.chance(0.2)) continue;
      event::Seen seen;
      seen.name = job.name;
      seen.cluster_id = job.cluster_id.empty() ? std::to_string(1000 + index(id)) : job.cluster_id;
      seen.phase = random_.chance(0.1) ? event::Seen::Phase::kOver : event::Seen::Phase::kRunning;
      if (seen.phase == event::Seen::Phase::kOver) seen.end = kEnds[static_cast<std::size_t>(random_.between(0, 15))];
      seen.says = text();
      seen.nodes = nodes();
      look.jobs.push_back(std::move(seen));
    }
    put(std::move(look));
  }

  control::Now now_{std::chrono::seconds(1), control::Utc(std::chrono::hours(24 * 365 * 50))};
  std::vector<control::Effects> effects_;
  std::vector<control::JobId> submissions_;
};

}  // namespace orch::store::test
