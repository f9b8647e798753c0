// A daemon's state on a desk: events are put in by hand, and what comes out is looked at.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "control/planning.h"
#include "control/state.h"
#include "policy/read.h"
#include "sim/tables.h"

namespace orch::control::test {

class Desk {
 public:
  Desk() : state(policy::shipped("default"), "desk") { put(event::Started{}); }

  /// Applies the event, commits its rows, and keeps its actions. Plans are made at once.
  void put(Event event) {
    const Effects effects = apply(state, std::move(event), now);
    for (const Change& change : effects.changes) tables.put(change);
    for (const Action& action : effects.actions) {
      actions.push_back(action);
      if (std::holds_alternative<action::Plan>(action)) put(plan_jobs(snapshot(state, now)));
    }
  }

  void wait(double seconds) {
    const auto time = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    now.serving += time;
    now.utc += time;
  }

  /// The event with a request of its own, and its answer.
  template <class Request>
  action::Answer ask(Request event) {
    event.request = RequestId{++requests_};
    put(event);
    for (const Action& action : actions)
      if (const auto* answer = std::get_if<action::Answer>(&action); answer && answer->request == event.request)
        return *answer;
    throw std::runtime_error("no answer");
  }

  /// A sweep of cells of one need: one GPU each, `seconds` long. Cell i of them has the key i + `first_key`.
  SweepId submit(std::size_t cells, double seconds = 100, int first_key = 0, bool fresh = false) {
    event::SubmitSweep sweep;
    sweep.name = "s";
    sweep.user = "mara";
    sweep.fresh = fresh;
    sweep.needs = {need()};
    for (std::size_t i = 0; i < cells; ++i) {
      event::AskedCell cell;
      cell.key.bytes[0] = static_cast<std::uint8_t>(first_key + static_cast<int>(i));
      cell.key.bytes[1] = 1;
      cell.model = "m";
      cell.task = "t";
      cell.expected = static_cast<float>(seconds);
      cell.bound = static_cast<float>(seconds);
      cell.score = static_cast<float>(1.0 / (1 + static_cast<double>(i)));
      sweep.cells.push_back(std::move(cell));
    }
    return ask(std::move(sweep)).sweep;
  }

  static Need need() {
    Need need;
    need.resources = {1, 1, 1, 0};
    need.environment = "e";
    need.profile = "small";
    need.most = 24 * 3600;
    need.nodes_there = 4;
    need.rooms = {{1, 1, 4, 0}, {1, 2, 8, 0}, {1, 4, 16, 0}};
    return need;
  }

  /// The cluster takes the newest job, and its worker claims it.
  std::string run_job(const std::string& cluster_id = "100", std::vector<std::string> nodes = {"n1"}) {
    const Job& job = state.jobs.rbegin()->second;
    const std::string name = job.name;
    put(event::Submitted{job.id, cluster_id});
    EXPECT_EQ(claim(name, cluster_id, std::move(nodes)).status, action::Answer::Status::kOk);
    return name;
  }
  action::Answer claim(const std::string& job, const std::string& cluster_id, std::vector<std::string> nodes = {"n1"},
                       int restarts = 0, const std::string& copy = "c") {
    return ask(event::Claim{{}, job, cluster_id, restarts, copy, std::move(nodes)});
  }
  action::Answer lease(const std::string& job, std::vector<Chunk> held = {}, double time_left = 3600,
                       std::uint32_t most = 64) {
    return ask(event::AskLease{{}, job, state.job_named(job)->epoch, time_left, most, {}, std::move(held)});
  }
  std::uint32_t deliver(const std::string& job, const action::Answer::Given& given, event::Delivered::What what,
                        policy::Cause cause = policy::Cause::kUnknown) {
    event::Delivered item;
    item.chunk = given.chunk;
    item.ticket = given.ticket;
    item.generation = given.generation;
    item.what = what;
    item.cause = cause;
    item.metrics = "{}";
    item.reason = "exit code 1";
    return ask(event::Deliver{{}, job, state.job_named(job)->epoch, {item}}).accepted;
  }
  void end_job(const std::string& job, End end) {
    put(event::ExitRecord{{}, job, state.job_named(job)->epoch, end, ""});
    put(event::DirectoryRead{state.job_named(job)->id, std::nullopt, true});
  }

  CellState cell(std::uint32_t i) const { return state.cells.at(i).state; }
  template <class Kind>
  std::vector<Kind> all() const {
    std::vector<Kind> found;
    for (const Action& action : actions)
      if (const auto* it = std::get_if<Kind>(&action)) found.push_back(*it);
    return found;
  }

  State state;
  Now now{std::chrono::seconds(1), Utc(std::chrono::hours(24 * 365 * 50))};
  sim::Tables tables;
  std::vector<Action> actions;

 private:
  std::uint64_t requests_ = 0;
};

}  // namespace orch::control::test
