// A daemon's state and its store, kept together as the daemon keeps them: each event is applied, and its rows are
// committed.
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <utility>
#include <vector>

#include "control/planning.h"
#include "control/state.h"
#include "policy/read.h"
#include "store/place.h"

namespace orch::api::test {

using namespace control;

/// 1970 and fifty years, at noon: 2019-12-20T12:00:00Z (fifty times 365 days, the leap days are missing).
inline const Utc kStart{std::chrono::hours(24 * 365 * 50 + 12)};

class Office {
 public:
  Office() : store(place_.open()), state(policy::shipped("default"), store->instance()) { put(event::Started{}); }

  void put(Event event) {
    std::vector<Effects> group(1);
    group[0] = apply(state, std::move(event), now);
    store::test::commit(*store, group);
    for (Action& action : group[0].actions) {
      if (auto* answer = std::get_if<action::Answer>(&action)) answers_.push_back(std::move(*answer));
      if (std::holds_alternative<action::Plan>(action)) put(plan_jobs(snapshot(state, now)));
    }
  }

  template <class Request>
  action::Answer ask(Request event) {
    event.request = RequestId{++requests_};
    const RequestId mine = event.request;
    put(std::move(event));
    for (const action::Answer& answer : answers_)
      if (answer.request == mine) return answer;
    throw std::runtime_error("no answer");
  }

  void wait(double seconds) {
    const auto time = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    now.serving += time;
    now.utc += time;
  }

  /// A cell of one GPU and 100 seconds. Its key begins with `key`, two digits, and goes on with zeros.
  static event::AskedCell cell(std::uint8_t key, const std::string& model, const std::string& task, float score = 0) {
    event::AskedCell cell;
    cell.key.bytes[0] = key;
    cell.model = model;
    cell.task = task;
    cell.expected = cell.bound = 100;
    cell.score = score;
    cell.content = "{}";
    cell.settings = "{}";
    return cell;
  }

  SweepId submit(std::vector<event::AskedCell> cells, const std::string& name = "nightly", bool fresh = false) {
    event::SubmitSweep sweep;
    sweep.name = name;
    sweep.user = "mara";
    sweep.fresh = fresh;
    Need need;
    need.resources = {1, 1, 2, std::int64_t{1} << 30};
    need.environment = "e";
    need.profile = "small";
    need.most = 24 * 3600;
    need.script_values = R"({"job": {"models": ["a", "b"]}})";
    sweep.needs = {need};
    sweep.cells = std::move(cells);
    return ask(std::move(sweep)).sweep;
  }

  /// The newest job is taken by the cluster, and its worker claims it.
  Job& run_job(const std::string& cluster_id = "4711", std::vector<std::string> nodes = {"n1", "n2"}) {
    Job& job = state.jobs.rbegin()->second;
    put(event::Submitted{job.id, cluster_id});
    ask(event::Claim{{}, job.name, cluster_id, 0, "copy", std::move(nodes)});
    return job;
  }
  std::vector<action::Answer::Given> lease(const Job& job, std::uint32_t most) {
    std::vector<Chunk> held(state.leases.of(job.id).begin(), state.leases.of(job.id).end());
    return ask(event::AskLease{{}, job.name, job.epoch, 3600, most, {}, held}).given;
  }
  void begin(const Job& job, const Chunk& chunk) { ask(event::Heartbeat{{}, job.name, job.epoch, {{chunk, true}}}); }
  void deliver(const Job& job, const action::Answer::Given& given, const std::string& metrics) {
    deliver(job, given, metrics, event::Delivered::What::kDone, policy::Cause::kUnknown, "");
  }
  void fail(const Job& job, const action::Answer::Given& given, policy::Cause cause, const std::string& reason) {
    deliver(job, given, "", event::Delivered::What::kFailed, cause, reason);
  }

 private:
  void deliver(const Job& job, const action::Answer::Given& given, const std::string& metrics,
               event::Delivered::What what, policy::Cause cause, const std::string& reason) {
    event::Delivered item;
    item.chunk = given.chunk;
    item.ticket = given.ticket;
    item.generation = given.generation;
    item.what = what;
    item.metrics = metrics;
    item.cause = cause;
    item.reason = reason;
    item.gpu_seconds = 30;
    item.seconds = 15;
    ask(event::Deliver{{}, job.name, job.epoch, {item}});
  }

  store::test::Place place_;
  std::vector<action::Answer> answers_;
  std::uint64_t requests_ = 0;

 public:
  std::unique_ptr<store::Store> store;
  State state;
  Now now{std::chrono::seconds(1), kStart};
};

}  // namespace orch::api::test
