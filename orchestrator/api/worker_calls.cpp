#include "api/worker_calls.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "api/curve_files.h"
#include "base/text.h"
#include "base/training_data.h"
#include "base/wire/messages.h"
#include "http/message.h"
#include "matrix/run_line.h"
#include "policy/remedy.h"
#include "report/curve.h"

namespace orch::api {
namespace {

using control::action::Answer;
using Reply = std::function<void(WorkerReply)>;
using nlohmann::json;

control::Chunk chunk_of(const wire::Chunk& chunk) { return {control::CellId{chunk.cell}, chunk.number}; }
wire::Chunk chunk_of(const control::Chunk& chunk) {
  return {static_cast<std::uint32_t>(index(chunk.cell)), chunk.number};
}

WorkerReply error(int status, std::string_view what) { return {status, http::error_response(status, what).body}; }

/// The refusal that the answer is, or nothing.
std::optional<WorkerReply> refusal(const Answer& answer) {
  switch (answer.status) {
    case Answer::Status::kOk:
      return std::nullopt;
    case Answer::Status::kNotFound:
      return error(404, answer.text);
    case Answer::Status::kConflict:
      return error(409, answer.text);
    case Answer::Status::kGone:
      return error(410, answer.text);
  }
  return error(500, "the daemon's answer makes no sense");
}

/// The folder of an attempt, relative to the job's: no two attempts share one.
std::string folder_of(control::CellId cell, control::Ticket ticket) { return "cells/" + attempt_name(cell, ticket); }

/// What the state knows of a cell of the native engine beside what the store has of it.
struct Placed {
  std::string loads, script_values;
  std::uint16_t chunks = 1;
  std::vector<std::string> before;
};

/// What the cell has made that another depends on.
struct Made {
  std::string attempt;           ///< its folder, below that of all jobs; empty: that is not known
  std::filesystem::path folder;  ///< of the adapter, or of the model
};

Made made_by(control::CellId maker, Desk& desk) {
  if (maker == control::kNoCell) return {};
  const auto attempt = desk.store().accepted(maker);
  if (!attempt) return {};
  const std::string folder = folder_of(maker, attempt->ticket);
  const std::filesystem::path whole = desk.folder_of(attempt->job) / folder;
  Made made{attempt->job + "/" + folder, whole};
  // The native engine puts it beside its log and its checkpoints; where a program puts it is its own affair.
  for (const char* name : {"adapter", "model"}) {
    std::error_code error;
    if (!std::filesystem::is_directory(whole / name, error)) continue;
    made.folder = whole / name;
    break;
  }
  return made;
}

Placed placed_of(const control::State& state, const Answer::Given& given) {
  const control::Need& need = state.needs[index(given.need)];
  Placed placed{need.loads, need.script_values, state.cells[index(given.chunk.cell)].chunks, {}};
  for (const auto& [job, ticket] : given.before)
    if (const auto at = state.jobs.find(job); at != state.jobs.end())
      placed.before.push_back(at->second.name + "/" + folder_of(given.chunk.cell, ticket));
  return placed;
}

/// Of a training. What is there no more stays as it was said, below the folder of data, and the worker says that it is
/// not there.
void find_files(wire::Ask& ask, const std::string& task, const std::string& hf_id, const std::filesystem::path& data) {
  const auto found = find_training_data(ask.data, task, hf_id, data);
  ask.data = found ? found->string() : (data / (ask.data.empty() ? task + ".jsonl" : ask.data)).string();
  if (ask.reward.empty()) return;
  const auto reward = find_reward(ask.reward, data);
  ask.reward = reward ? reward->string() : (data / ask.reward).string();
}

/// A cell whose line cannot be made is given with none: the worker fails it with the reason.
wire::Leased leased_of(const Answer::Given& given, const store::CellText& text, const std::filesystem::path& job,
                       const std::filesystem::path& data, const Placed& placed, const Made& made) {
  wire::Leased leased;
  leased.chunk = chunk_of(given.chunk);
  leased.ticket = index(given.ticket);
  leased.generation = given.generation;
  leased.attempt = given.attempt;
  leased.time_limit = given.seconds;
  leased.gpus = given.gpus;
  leased.cpus = given.cpus;
  leased.memory = given.memory;
  leased.smaller_batch = given.smaller_batch;
  leased.model = text.model;
  leased.task = text.task;
  leased.folder = folder_of(given.chunk.cell, given.ticket);
  const auto line = matrix::run_line(text.content, text.settings, text.model, text.task,
                                     job / leased.folder / "result.json", {1, made.folder});
  if (!line) return leased;
  leased.engine = line->engine;
  if (line->ask) {
    const json values = json::parse(placed.script_values, nullptr, false);
    leased.ask = line->ask;
    leased.ask->loads = placed.loads;
    leased.ask->chunks = placed.chunks;
    leased.ask->before = placed.before;
    leased.ask->adapter = made.attempt;
    // An evaluation is computed by one copy of the model; the others take other cells, or other chunks of it.
    if (values.is_object() && values.contains("job")) {
      leased.ask->tensor = values["job"]["layout"]["tp"];
      leased.ask->pipeline = values["job"]["layout"]["pp"];
      if (!leased.ask->rows.empty()) leased.ask->copies = values["job"]["layout"]["dp"];
    }
    if (leased.ask->rows.empty())
      leased.ask->data = data.string();
    else
      find_files(*leased.ask, text.task, line->data_id, data);
  }
  leased.run = line->run;
  for (const auto& [name, value] : line->environment) leased.environment.push_back(name + "=" + value);
  return leased;
}

template <class Message>
std::optional<Message> understood(std::string_view body, const Reply& reply) {
  auto message = wire::read<Message>(body);
  if (message) return *std::move(message);
  reply(error(400, message.error().what));
  return std::nullopt;
}

void claim(Desk& desk, const std::string& job, std::string_view body, Reply reply) {
  const auto message = understood<wire::Claim>(body, reply);
  if (!message) return;
  if (message->protocol != wire::kProtocol && message->protocol != wire::kProtocol - 1)
    return reply(error(409, "the worker speaks protocol " + std::to_string(message->protocol) + ", the daemon " +
                                std::to_string(wire::kProtocol) + " and the one before"));
  control::event::Claim event{{}, job, message->cluster_id, message->restarts, message->copy, message->nodes};
  desk.put(std::move(event), [&desk, reply](const Answer& answer) {
    if (auto refused = refusal(answer)) return reply(*std::move(refused));
    desk.look([answer, reply](const control::State& state, control::Now) {
      wire::Claimed claimed;
      claimed.epoch = static_cast<std::uint32_t>(index(answer.epoch));
      claimed.lease_term = answer.lease_term;
      claimed.heartbeat = answer.lease_term / 4;
      claimed.idle_timeout = state.policy.idle_timeout;
      claimed.drain = answer.drain;
      reply({200, wire::write(claimed)});
    });
  });
}

void give(Desk& desk, const std::string& job, const Answer& answer, wire::Given given,
          const std::vector<Placed>& placed, const Reply& reply) {
  std::vector<control::CellId> cells;
  for (const Answer::Given& each : answer.given) cells.push_back(each.chunk.cell);
  std::vector<store::CellText> texts;
  std::vector<Made> made;
  try {
    texts = desk.store().cells(cells);
    for (const Answer::Given& each : answer.given) made.push_back(made_by(each.depends, desk));
  } catch (const store::Failure& failure) {
    return reply(error(500, failure.what()));  // the leases run out
  }
  for (std::size_t i = 0; i < cells.size(); ++i)
    given.leased.push_back(leased_of(answer.given[i], texts[i], desk.folder_of(job), desk.data(), placed[i], made[i]));
  reply({200, wire::write(given)});
}

void lease(Desk& desk, const std::string& job, std::string_view body, Reply reply) {
  const auto message = understood<wire::AskLease>(body, reply);
  if (!message) return;
  control::event::AskLease event{
      {}, job, control::Epoch{message->epoch}, message->time_left, message->most, message->loaded, {}};
  for (const wire::Chunk& chunk : message->held) event.held.push_back(chunk_of(chunk));
  desk.put(std::move(event), [&desk, job, reply](const Answer& answer) {
    if (auto refused = refusal(answer)) return reply(*std::move(refused));
    wire::Given given;
    given.drain = answer.drain;
    given.nothing_left = answer.nothing_left;
    if (answer.given.empty()) {
      given.retry_after = answer.retry_after;
      return reply({200, wire::write(given)});
    }
    // What the native engine is asked, and what other cells have made, is looked up on the disk.
    const bool looks = std::ranges::any_of(
        answer.given, [](const Answer::Given& each) { return each.native || each.depends != control::kNoCell; });
    if (!looks) return give(desk, job, answer, given, std::vector<Placed>(answer.given.size()), reply);
    desk.look([&desk, job, reply, answer, given](const control::State& state, control::Now) {
      std::vector<Placed> placed;
      for (const Answer::Given& each : answer.given) placed.push_back(placed_of(state, each));
      desk.later([&desk, job, reply, answer, given, placed] { give(desk, job, answer, given, placed, reply); });
    });
  });
}

void heartbeat(Desk& desk, const std::string& job, std::string_view body, Reply reply) {
  const auto message = understood<wire::Heartbeat>(body, reply);
  if (!message) return;
  control::event::Heartbeat event{{}, job, control::Epoch{message->epoch}, {}};
  for (const auto& held : message->held)
    // What is no line of a curve is passed over: a training does not end because of what is shown of it.
    event.held.push_back({chunk_of(held.chunk), held.running, held.done, held.all, report::live_line(held.live)});
  desk.put(std::move(event), [reply](const Answer& answer) {
    if (auto refused = refusal(answer)) return reply(*std::move(refused));
    wire::Beat beat;
    for (const control::Chunk& chunk : answer.drop) beat.drop.push_back(chunk_of(chunk));
    beat.drain = answer.drain;
    reply({200, wire::write(beat)});
  });
}

void deliver(Desk& desk, const std::string& job, std::string_view body, Reply reply) {
  const auto message = understood<wire::Deliver>(body, reply);
  if (!message) return;
  desk.put(delivery_of(job, *message), [reply](const Answer& answer) {
    if (auto refused = refusal(answer)) return reply(*std::move(refused));
    reply({200, wire::write(wire::Acknowledged{answer.accepted})});
  });
}

void leave(Desk& desk, const std::string& job, std::string_view body, Reply reply) {
  const auto message = understood<wire::Exit>(body, reply);
  if (!message) return;
  desk.put(exit_of(job, *message), [reply](const Answer& answer) {
    if (auto refused = refusal(answer)) return reply(*std::move(refused));
    reply({200, "{}"});
  });
}

using Call = void (*)(Desk&, const std::string& job, std::string_view body, Reply);
const std::map<std::string_view, Call> kCalls = {
    {"claim", claim}, {"deliver", deliver}, {"exit", leave}, {"heartbeat", heartbeat}, {"lease", lease}};

policy::Cause cause_named(const std::string& name) {
  // A training whose loss leaves what it was, again and again, is no better than one without numbers.
  if (name == "diverged") return policy::Cause::kNan;
  for (const policy::Cause cause : policy::kCauses)
    if (policy::name_of(cause) == name) return cause;
  return policy::Cause::kUnknown;
}

}  // namespace

namespace {

/// Seconds over all attempts, where the figures tell them: of a training, which goes on in one from another.
double seconds_of_all(const std::string& figures) {
  const json read = json::parse(figures, nullptr, false);
  const auto found = read.is_object() ? read.find("seconds") : read.end();
  const double seconds = read.is_object() && found != read.end() && found->is_number() ? found->get<double>() : 0;
  return std::isfinite(seconds) ? std::max(seconds, 0.0) : 0;
}

}  // namespace

control::event::Deliver delivery_of(const std::string& job, const wire::Deliver& message) {
  using What = control::event::Delivered::What;
  control::event::Deliver event{{}, job, control::Epoch{message.epoch}, {}};
  for (const wire::Delivered& item : message.items) {
    control::event::Delivered delivered;
    delivered.chunk = chunk_of(item.chunk);
    delivered.ticket = control::Ticket{item.ticket};
    delivered.generation = static_cast<std::uint16_t>(std::min<std::uint32_t>(item.generation, 0xFFFF));
    delivered.what = item.what == "done" ? What::kDone : item.what == "failed" ? What::kFailed : What::kReturned;
    delivered.metrics = item.metrics;
    delivered.figures = item.figures;
    delivered.cause = cause_named(item.cause);
    delivered.reason = item.reason;
    delivered.seconds = std::max(item.seconds, seconds_of_all(item.figures));
    delivered.gpu_seconds = std::max(0.0, item.gpu_seconds);
    // What claims to be a result and is none would be read back as one for ever.
    if (delivered.what == What::kDone && !nlohmann::json::parse(item.metrics, nullptr, false).is_object()) {
      delivered.what = What::kFailed;
      delivered.cause = policy::Cause::kBadInput;
      delivered.reason = "its worker delivered metrics that are no JSON object";
    }
    event.items.push_back(std::move(delivered));
  }
  return event;
}

control::event::ExitRecord exit_of(const std::string& job, const wire::Exit& message) {
  return {{},
          job,
          control::Epoch{message.epoch},
          control::end_named(message.end).value_or(control::End::kUnknown),
          message.reason};
}

bool is_worker_call(std::string_view verb) { return kCalls.contains(verb); }

std::string worker_calls() {
  std::vector<std::string> names;
  for (const auto& [name, call] : kCalls) names.emplace_back(name);
  return join(names, ", ");
}

void worker_call(Desk& desk, std::string_view verb, const std::string& job, std::string_view body, Reply reply) {
  const auto call = kCalls.find(verb);
  if (call == kCalls.end()) return reply(error(404, "a worker says " + worker_calls() + ", not " + quote(verb)));
  call->second(desk, job, body, std::move(reply));
}

}  // namespace orch::api
