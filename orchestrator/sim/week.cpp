#include "sim/week.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/units.h"
#include "control/estimate.h"
#include "control/planning.h"
#include "control/state.h"
#include "sim/cluster.h"
#include "sim/invariants.h"
#include "sim/tables.h"
#include "sim/worker.h"

namespace orch::sim {

using namespace control;

namespace {

constexpr Time kTick = 20 * kSecond;

struct Faults {
  double drop = 0, twice = 0;                ///< of messages between workers and the daemon
  Time delay = 200;                          ///< the longest, of a message
  double crash_before = 0, crash_after = 0;  ///< of each commit
  double outage_a_day = 0;                   ///< the daemon is away for minutes to hours
};

class World {
 public:
  World(std::uint64_t seed, const policy::Policy& policy, const WeekOptions& options)
      : policy_(policy),
        options_(options),
        random_(seed),
        faults_(draw_faults()),
        cluster_(clock_, random_, 4, 8, 32, draw_cluster_faults(), machine()) {
    start_daemon();
    plan_people();
    clock_.after(kSecond, [this] { tick(); });
    clock_.after(10 * kSecond, [this] { look(); });
  }

  WeekReport run() {
    while (report_.broken.empty() && clock_.step(options_.length)) {
    }
    // The faults stop; everything must come to its end.
    faults_ = {};
    cluster_.stop_faults();
    if (!up_) start_daemon();
    release_all();
    Time until = options_.length;
    while (report_.broken.empty() && until < options_.length + 14 * kDay && !is_quiet()) {
      until += kHour;
      while (report_.broken.empty() && clock_.step(until)) {
      }
    }
    if (report_.broken.empty()) check_end();
    report_.submissions = cluster_.submissions;
    report_.looks = cluster_.looks;
    report_.cells = state_->cells.size();
    for (std::uint32_t i = 0; i < state_->cells.size(); ++i) {
      report_.done += state_->cells[i].state == CellState::kDone;
      if (state_->cells[i].state != CellState::kFailed) continue;
      ++report_.failed;
      ++report_.reasons[state_->troubles[CellId{i}].reason];
    }
    return report_;
  }

 private:
  // Chance.

  Faults draw_faults() {
    Faults faults;
    if (!options_.faults) return faults;
    faults.drop = 0.01 * static_cast<double>(random_.between(0, 15));
    faults.twice = 0.01 * static_cast<double>(random_.between(0, 10));
    faults.delay = random_.chance(0.3) ? 20 * kSecond : kSecond;
    faults.crash_before = 0.0002 * static_cast<double>(random_.between(0, 5));
    faults.crash_after = 0.0002 * static_cast<double>(random_.between(0, 5));
    faults.outage_a_day = random_.chance(0.3) ? 2 : 0;
    return faults;
  }

  ClusterFaults draw_cluster_faults() {
    ClusterFaults faults;
    faults.accounting = random_.chance(0.7);
    if (!options_.faults) return faults;
    faults.submit_fails = 0.05;
    faults.submit_unclear = 0.05;
    faults.look_fails = 0.1;
    faults.node_fails_a_day = random_.chance(0.5) ? 1 : 0;
    faults.preempts_a_day = random_.chance(0.5) ? 4 : 0;
    faults.cancels_a_day = random_.chance(0.2) ? 1 : 0;
    return faults;
  }

  // The daemon.

  Now now() const { return {Serving(clock_.now() - started_), Utc(std::chrono::milliseconds(clock_.now()))}; }

  void start_daemon() {
    ++incarnation_;
    up_ = true;
    started_ = clock_.now();
    state_ = std::make_unique<State>(tables_.restore(policy_, "sim", rules_));
    fail_if(broken_between(*state_, tables_));
    happen(event::Started{});
  }

  void crash() {
    if (!up_) return;
    ++report_.crashes;
    up_ = false;
    uncommitted_.clear();
    waiting_.clear();
    inside_.clear();
    commit_due_ = false;
    clock_.after(random_.between(kSecond, random_.chance(0.1) ? 3 * kHour : 2 * kMinute), [this] {
      if (!up_) start_daemon();
    });
  }

  void happen(Event event) {
    if (!up_ || !report_.broken.empty()) return;
    ++report_.events;
    Effects effects = apply(*state_, std::move(event), now());
    if (options_.check_every_event) fail_if(broken_in(*state_));
    uncommitted_.push_back(std::move(effects));
    if (commit_due_) return;
    commit_due_ = true;
    clock_.after(random_.between(1, 30), [this, of = incarnation_] {
      if (up_ && of == incarnation_) commit();
    });
  }

  /// A group of transactions, then their actions. It may crash at either boundary.
  void commit() {
    commit_due_ = false;
    if (random_.chance(faults_.crash_before)) return crash();
    std::vector<Effects> group;
    group.swap(uncommitted_);
    for (const Effects& effects : group)
      for (const Change& change : effects.changes) tables_.put(change);
    fail_if(tables_.broken);
    if (random_.chance(0.02)) {
      fail_if(broken_between(*state_, tables_));
      const std::string differs = difference(*state_, tables_.restore(policy_, "sim", rules_));
      if (!differs.empty()) fail_if("what was restored differs: " + differs);
    }
    if (random_.chance(faults_.crash_after)) return crash();
    for (Effects& effects : group)
      for (Action& action : effects.actions) std::visit([this](auto& it) { act(it); }, action);
  }

  void tick() {
    happen(event::Tick{});
    if (random_.chance(faults_.outage_a_day * kTick / kDay)) crash();
    clock_.after(kTick, [this] { tick(); });
  }

  void look() {
    clock_.after(random_.between(100, 140) * kSecond, [this] { look(); });
    look_once();
  }

  void look_once() {
    if (!up_) return;
    ++cluster_.looks;
    if (random_.chance(cluster_.faults().look_fails)) return;
    const Serving asked = now().serving;
    clock_.after(random_.between(10, 5 * kSecond), [this, asked, of = incarnation_, seen = cluster_.look()] {
      if (of == incarnation_) happen(event::Looked{asked, seen});
    });
  }

  // Actions.

  void act(action::Answer& answer) {
    const auto waiting = waiting_.find(answer.request);
    if (waiting == waiting_.end()) return;
    auto callback = std::move(waiting->second);
    waiting_.erase(waiting);
    if (inside_.erase(answer.request) > 0) return callback(answer);
    if (random_.chance(faults_.drop)) return;
    clock_.after(random_.between(1, faults_.delay), [callback, answer] { callback(answer); });
  }

  void act(action::Submit& submit) {
    const Job& job = state_->jobs.at(submit.job);
    if (!submitted_.insert(job.name).second) return fail_if(job.name + " was submitted twice");
    Cluster::JobSpec spec{job.name,           job.resources.nodes,      job.resources.gpus,
                          job.resources.cpus, job.time_limit * kSecond, job.excluded_nodes};
    const bool fails = random_.chance(cluster_.faults().submit_fails);
    const bool unclear = random_.chance(cluster_.faults().submit_unclear);
    const bool lost = unclear && random_.chance(0.5);
    clock_.after(random_.between(20, 3 * kSecond), [=, this, id = submit.job, of = incarnation_] {
      std::string cluster_id;
      if (!fails && !lost) cluster_id = cluster_.submit(spec);
      if (of != incarnation_ || !up_) return;
      if (unclear)
        happen(event::NotSubmitted{id, event::NotSubmitted::Why::kUnclear, "sbatch gave no answer"});
      else if (fails)
        happen(event::NotSubmitted{id, event::NotSubmitted::Why::kLater, "the controller is away"});
      else
        happen(event::Submitted{id, cluster_id});
    });
  }

  void act(action::Cancel& cancel) {
    const std::string name = state_->jobs.at(cancel.job).name;
    clock_.after(random_.between(20, kSecond), [this, name] { cluster_.cancel(name, false); });
  }

  void act(action::LookSoon&) {
    clock_.after(5 * kSecond, [this] { look_once(); });
  }

  void act(action::AskHistory& ask) {
    std::vector<std::string> names;
    for (const JobId id : ask.jobs) names.push_back(state_->jobs.at(id).name);
    clock_.after(random_.between(50, 3 * kSecond), [this, names, of = incarnation_] {
      if (of == incarnation_) happen(event::History{true, names, cluster_.history(names)});
    });
  }

  void act(action::ReadDirectory& read) {
    clock_.after(random_.between(1, 2 * kSecond), [this, id = read.job, of = incarnation_] {
      if (of != incarnation_ || !up_) return;
      const Job& job = state_->jobs.at(id);
      Directory& directory = directories_[job.name];
      if (!directory.spool.empty()) happen(event::Deliver{{}, job.name, job.epoch, directory.spool});
      happen(event::DirectoryRead{id, directory.last_words, !directory.owner.empty()});
    });
  }

  void act(action::Seal& seal) { sealed_.insert(state_->jobs.at(seal.job).name); }

  void act(action::Plan&) {
    const Snapshot taken = snapshot(*state_, now());
    clock_.after(random_.between(1, 2 * kSecond), [this, taken, of = incarnation_] {
      if (of == incarnation_) happen(plan_jobs(taken));
    });
  }

  /// Told once the state has agreed; the messenger is part of the daemon, and ends with it.
  void act(action::Notify& notify) {
    clock_.after(random_.between(1, kSecond), [this, id = notify.notice.id, of = incarnation_] {
      if (of != incarnation_ || !up_) return;
      const RequestId request{++next_request_};
      waiting_[request] = [this, id, of](const action::Answer& answer) {
        if (answer.status != action::Answer::Status::kOk) return;
        if (!told_.insert(id).second) return fail_if("a notice was told twice");
        clock_.after(random_.between(1, 10 * kSecond), [this, id, of] {
          if (of == incarnation_ && up_) happen(event::NoticeTold{id, 1, ""});
        });
      };
      inside_.insert(request);
      happen(event::TakeNotice{request, id});
    });
  }

  // The network between workers, people and the daemon.

  void call(Event event, std::function<void(const action::Answer&)> callback) {
    const RequestId request{++next_request_};
    std::visit(
        [&](auto& it) {
          if constexpr (requires { it.request; }) it.request = request;
        },
        event);
    if (random_.chance(faults_.drop)) return;
    const auto arrive = [this, request, event, callback] {
      if (!up_) return;
      waiting_[request] = callback;
      happen(event);
    };
    clock_.after(random_.between(1, faults_.delay), arrive);
    if (random_.chance(faults_.twice)) clock_.after(random_.between(1, 10 * faults_.delay), arrive);
  }

  // The machine.

  Cluster::Machine machine() {
    Cluster::Machine machine;
    machine.start = [this](const std::string& name, const std::string& id, int restarts, std::vector<std::string> nodes,
                           Time limit) {
      Surroundings around{clock_, random_,
                          [this](CellId cell) -> const Behaviour& {
                            return behaviours_.at(std::stoi(tables_.cells[index(cell)].content));
                          },
                          [this](Event event, std::function<void(const action::Answer&)> callback) {
                            call(std::move(event), std::move(callback));
                          },
                          [this](const std::string& which, bool well) {
                            clock_.after(random_.between(10, 2 * kSecond),
                                         [this, which, well] { cluster_.ended(which, well); });
                          }};
      const auto resources = resources_of(name);
      Worker::Start start{name, id, restarts, std::move(nodes), resources.gpus, resources.cpus, limit};
      workers_[id] = std::make_shared<Worker>(std::move(start), std::move(around), directories_[name]);
      clock_.after(random_.between(100, 5 * kSecond), [worker = workers_[id]] {
        if (worker->alive()) worker->begin();
      });
    };
    machine.signal = [this](const std::string& id) {
      if (const auto worker = workers_.find(id); worker != workers_.end() && worker->second->alive())
        worker->second->signal();
    };
    machine.kill = [this](const std::string& id) {
      if (const auto worker = workers_.find(id); worker != workers_.end()) worker->second->kill();
    };
    return machine;
  }

  Resources resources_of(const std::string& name) const {
    for (const auto& [id, row] : tables_.jobs)
      if (row.job.name == name) return row.job.resources;
    return {};
  }

  // People.

  void plan_people() {
    for (int i = 0; i < options_.sweeps; ++i) {
      const Time at = random_.between(0, options_.length * 3 / 4);
      clock_.after(at, [this, i] { submit_sweep(i); });
    }
    for (int i = 0; i < options_.sweeps; ++i) {
      const Time at = random_.between(kHour, options_.length * 9 / 10);
      clock_.after(at, [this] { meddle(); });
    }
  }

  Digest key_of(int cell) {
    Digest key;
    std::uint64_t word = static_cast<std::uint64_t>(cell) + 1;
    for (std::size_t i = 0; i < key.bytes.size(); ++i) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      key.bytes[i] = static_cast<std::uint8_t>(word >> 56);
    }
    return key;
  }

  Need draw_need(int which) {
    Need need;
    const double gpus[] = {0, 0.5, 1, 4, 8, 16};
    need.resources.gpus = gpus[which];
    need.resources.nodes = which == 5 ? 2 : 1;
    need.resources.cpus = which == 5 ? 2 : 1;
    need.environment = which == 0 ? "cpu" : "gpu";
    need.profile = "p" + std::to_string(which);
    need.loads = which >= 3 ? "model" + std::to_string(which) : "";
    need.load = which >= 3 ? 120 : 0;
    need.most = 24 * 3600;
    need.nodes_there = 4;
    if (which == 0) need.rooms = {{1, 0, 4, 0}, {1, 0, 16, 0}};
    if (which == 1 || which == 2) need.rooms = {{1, 1, 4, 0}, {1, 2, 8, 0}, {1, 4, 16, 0}, {1, 8, 32, 0}};
    return need;
  }

  /// A few cells each are the same work again.
  static int work_of_cell(int cell) { return cell / 8; }

  const Behaviour& draw_behaviour(int cell) {
    const auto [at, added] = behaviours_.try_emplace(cell);
    if (!added) return at->second;
    Behaviour& how = at->second;
    how.chunks = cell % 9 == 0 && cell % 6 != 5 ? 4 : 1;
    const auto [same, first] = seconds_.try_emplace(work_of_cell(cell));
    if (first)
      same->second = static_cast<double>(random_.chance(0.5) ? random_.between(1, 60) : random_.between(60, 4000));
    how.seconds = same->second;
    if (random_.chance(0.05))
      how.kind = Behaviour::Kind::kFlaky, how.failures = static_cast<int>(random_.between(1, 2));
    else if (random_.chance(0.02))
      how.kind = Behaviour::Kind::kBad;
    else if (random_.chance(0.02))
      how.kind = Behaviour::Kind::kPoison;
    else if (random_.chance(0.02))
      how.kind = Behaviour::Kind::kSlow;
    return how;
  }

  void submit_sweep(int number) {
    event::SubmitSweep sweep;
    sweep.name = "s" + std::to_string(number);
    sweep.user = "mara";
    sweep.request_key = sweep.name;
    sweep.fresh = random_.chance(0.1);
    for (int i = 0; i < 6; ++i) sweep.needs.push_back(draw_need(i));
    const auto cells = random_.between(1, options_.most_cells);
    std::map<int, std::uint32_t> in_sweep;
    for (std::int64_t i = 0; i < cells; ++i) {
      const int which = static_cast<int>(random_.between(0, options_.sweeps * options_.most_cells / 2));
      if (in_sweep.contains(which)) continue;
      const Behaviour& how = draw_behaviour(which);
      event::AskedCell cell;
      cell.key = key_of(which);
      cell.need = static_cast<std::uint32_t>(which % 6);
      cell.model = "m" + std::to_string(which % 7);
      cell.task = "t";
      // What people declare has little to do with what a cell takes, and nothing is measured yet.
      const double guess = std::array{1.0, 4.0, 20.0}[static_cast<std::size_t>(work_of_cell(which) % 3)];
      cell.work = Work{static_cast<std::uint64_t>(work_of_cell(which) + 1)};
      cell.basis = work_of_cell(which) % 2 == 0 ? planner::Basis::kDeclared : planner::Basis::kRoofline;
      cell.expected = static_cast<float>(std::min(how.seconds * guess, 20'000.0));
      cell.bound = cell.expected * 1.3f + 1;
      cell.chunks = static_cast<std::uint16_t>(how.chunks);
      cell.score = static_cast<float>(which % 100) / 100;
      cell.content = std::to_string(which);
      // Some evaluate what another makes.
      if (which % 5 == 1)
        if (const auto maker = in_sweep.find(which - 1); maker != in_sweep.end()) cell.depends = maker->second;
      // Content says what a cell depends on: a key has one maker, or none.
      if (which % 5 == 1 && !cell.depends) continue;
      in_sweep.emplace(which, static_cast<std::uint32_t>(sweep.cells.size()));
      sweep.cells.push_back(std::move(cell));
    }
    if (sweep.cells.empty()) return;
    ask_until_answered(sweep);
  }

  void ask_until_answered(const event::SubmitSweep& sweep) {
    const auto answered = std::make_shared<bool>(false);
    const auto send = std::make_shared<std::function<void()>>();
    *send = [this, sweep, answered, weak = std::weak_ptr(send)] {
      if (*answered) return;
      call(Event(sweep), [answered](const action::Answer&) { *answered = true; });
      if (const auto again = weak.lock()) clock_.after(30 * kSecond, [again] { (*again)(); });
    };
    (*send)();
  }

  void meddle() {
    if (!up_ || state_->sweeps.empty()) return;
    const SweepId sweep{
        static_cast<std::uint32_t>(random_.between(0, static_cast<std::int64_t>(state_->sweeps.size()) - 1))};
    const std::string model = "m" + std::to_string(random_.between(0, 6));
    switch (random_.between(0, 4)) {
      case 0:
        return call(event::CancelSweep{{}, sweep, "mara"}, [](const action::Answer&) {});
      case 1:
        return call(event::RetrySweep{{}, sweep, "mara"}, [](const action::Answer&) {});
      case 2:
        return call(event::HoldSweep{{}, sweep, random_.chance(0.5), "mara"}, [](const action::Answer&) {});
      case 3:
        return call(event::HoldModel{{}, model, random_.chance(0.5), "root"}, [](const action::Answer&) {});
      default:
        if (options_.faults) crash();
    }
  }

  void release_all() {
    for (int i = 0; i < 7; ++i) happen(event::HoldModel{{}, "m" + std::to_string(i), false, "root"});
    for (std::uint32_t i = 0; i < state_->sweeps.size(); ++i)
      if (state_->sweeps[i].state == SweepState::kHeld) happen(event::HoldSweep{{}, SweepId{i}, false, "mara"});
  }

  // The end.

  bool is_quiet() const {
    const auto live = [](const Sweep& sweep) { return is_live(sweep.state); };
    return up_ && uncommitted_.empty() && state_->notices.empty() &&
           std::none_of(state_->sweeps.begin(), state_->sweeps.end(), live) && cluster_.alive() == 0 &&
           std::all_of(state_->jobs.begin(), state_->jobs.end(),
                       [](const auto& job) { return job.second.state == JobState::kEnded; });
  }

  void check_end() {
    fail_if(broken_between(*state_, tables_));
    if (!is_quiet()) {
      for (const Sweep& sweep : state_->sweeps)
        if (is_live(sweep.state)) return fail_if("two weeks later " + sweep.name + " has not ended: " + why_not(sweep));
      for (const auto& [id, job] : state_->jobs)
        if (job.state != JobState::kEnded)
          return fail_if("two weeks later " + job.name + " is " + std::string(name_of(job.state)));
      if (!state_->notices.empty()) return fail_if("two weeks later a notice is not told");
      return fail_if("two weeks later a job stands in the cluster's queue");
    }
    // Each cell has had some 10 attempts at most, and each attempt one job at worst; the faults take their share.
    if (cluster_.submissions > 200 + 20 * state_->cells.size())
      fail_if(std::to_string(cluster_.submissions) + " jobs were submitted for " +
              std::to_string(state_->cells.size()) + " cells");
  }

  /// Where the first of its cells stands that is not over.
  std::string why_not(const Sweep& sweep) const {
    for (const Wanted& wanted : sweep.cells) {
      const Cell& cell = state_->cells[index(wanted.cell)];
      if (is_final(cell.state) || wanted.generation != cell.generation) continue;
      const auto trouble = state_->troubles.find(wanted.cell);
      const auto jobs = std::count_if(state_->jobs.begin(), state_->jobs.end(),
                                      [](const auto& job) { return job.second.state != JobState::kEnded; });
      return "cell " + std::to_string(index(wanted.cell)) + " of need " + std::to_string(index(cell.need)) + " is " +
             std::string(name_of(cell.state)) + " after " +
             std::to_string(trouble == state_->troubles.end() ? 0 : trouble->second.attempts()) + " attempts and " +
             std::to_string(trouble == state_->troubles.end() ? 0 : trouble->second.crashes) + " crashes; " +
             std::to_string(jobs) + " jobs are not over, " + std::to_string(state_->plan.size()) +
             " are planned, plan " + std::to_string(state_->plan_made) + " of " + std::to_string(state_->plan_version) +
             (state_->plan_asked ? " is asked for" : "") + about(wanted.cell);
    }
    return "no cell of it is open";
  }

  /// What a plan sees of a cell.
  std::string about(CellId id) const {
    const Cell& cell = state_->cells[index(id)];
    if (cell.depends != kNoCell) {
      const Cell& other = state_->cells[index(cell.depends)];
      return "; what it needs, cell " + std::to_string(index(cell.depends)) + ", is " +
             std::string(name_of(other.state)) + " in its generation " + std::to_string(other.generation);
    }
    const Estimate takes = estimate(*state_, id);
    const Need& need = state_->needs[index(state_->cells[index(id)].need)];
    return "; it takes " + format_fixed(takes.expected, 3) + " to " + format_fixed(takes.bound, 3) + " s, asked " +
           format_fixed(static_cast<double>(state_->cells[index(id)].bound), 3) + ", its need has " +
           format_fixed(need.most, 3) + " s less " + format_fixed(need.load, 3) + " for loading" +
           (need.stopped.empty() ? "" : ", stopped: " + need.stopped);
  }

  void fail_if(const std::string& what) {
    if (what.empty() || !report_.broken.empty()) return;
    report_.broken = what + " (" + std::to_string(clock_.now() / kMinute) + " min into the week, event " +
                     std::to_string(report_.events) + ")";
  }

  const policy::Policy& policy_;
  const WeekOptions options_;
  WeekReport report_;
  Clock clock_;
  Random random_;
  Faults faults_;
  Cluster cluster_;
  Rules rules_;
  Tables tables_;
  std::unique_ptr<State> state_;
  bool up_ = false, commit_due_ = false;
  std::uint64_t incarnation_ = 0, next_request_ = 0;
  Time started_ = 0;
  std::vector<Effects> uncommitted_;
  std::map<RequestId, std::function<void(const action::Answer&)>> waiting_;
  std::set<RequestId> inside_;  ///< of these, those that the daemon asks itself: no network is between
  std::set<NoticeId> told_;
  std::map<std::string, Directory> directories_;
  std::map<std::string, std::shared_ptr<Worker>> workers_;
  std::set<std::string> submitted_, sealed_;
  std::map<int, Behaviour> behaviours_;
  std::map<int, double> seconds_;  ///< of each work
};

}  // namespace

WeekReport run_week(std::uint64_t seed, const policy::Policy& policy, const WeekOptions& options) {
  return World(seed, policy, options).run();
}

}  // namespace orch::sim
