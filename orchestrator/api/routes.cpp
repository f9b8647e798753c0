#include "api/routes.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "api/curve_files.h"
#include "api/view_parts.h"
#include "api/worker_calls.h"
#include "base/text.h"
#include "report/policy_report.h"
#include "report/problems.h"

namespace orch::api {
namespace {

using control::Now;
using control::State;
using control::action::Answer;
using http::Request;
using http::Responder;
using http::Response;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kMostEvents = 10'000;    // of one answer
constexpr std::int64_t kMostLog = 1 << 20;     // bytes of one answer
constexpr std::size_t kMostMatrix = 8u << 20;  // bytes of a file that is submitted

void answer(const Responder& responder, int status, const ordered_json& body) {
  Response response;
  response.status = status;
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  responder.send(std::move(response));
}
void refuse(const Responder& responder, int status, std::string_view what) {
  responder.send(http::error_response(status, what));
}

/// A fault of the disk while something was read: whoever asked is told, and the daemon goes on.
template <class Work>
void guarded(const Responder& responder, Work&& work) {
  try {
    work();
  } catch (const std::exception& error) {
    refuse(responder, 500, error.what());
  }
}

/// A whole number; nothing: there is no text, or it is none.
std::optional<std::int64_t> number(const std::string* text) {
  std::int64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

/// Of the query, `otherwise` where it does not say; what is no number was answered.
std::optional<std::int64_t> asked_number(const Request& request, const Responder& responder, const char* name,
                                         std::int64_t otherwise) {
  const std::string* text = request.asked(name);
  if (!text) return otherwise;
  const auto value = number(text);
  if (!value) refuse(responder, 400, quote(name) + " must be a whole number, not " + quote(*text));
  return value;
}

void refuse_file(const Responder& responder, const Diagnostics& problems) {
  ordered_json body;
  body["error"] = {{"status", 422}, {"what", "the file has problems"}, {"problems", report::problems_json(problems)}};
  answer(responder, 422, body);
}

/// Whether the object has no other members than these; it was answered otherwise.
bool has_only(const json& object, const Responder& responder, std::initializer_list<const char*> known) {
  for (const auto& [name, value] : object.items())
    if (std::ranges::find(known, name, [](const char* each) { return std::string_view(each); }) == known.end()) {
      refuse(responder, 400, "the body has a member " + quote(name) + ", which is not known here");
      return false;
    }
  return true;
}

/// The body, if it is an object with no other members than these; it was answered otherwise.
std::optional<json> object_of(const Request& request, const Responder& responder,
                              std::initializer_list<const char*> known) {
  json body = json::parse(request.body, nullptr, false);
  if (!body.is_object()) {
    refuse(responder, 400, "the body must be a JSON object");
    return std::nullopt;
  }
  if (!has_only(body, responder, known)) return std::nullopt;
  return body;
}

bool text_in(const json& body, const char* name, std::string& into, const Responder& responder, bool required = true) {
  const auto at = body.find(name);
  if (at == body.end() && !required) return true;
  if (at == body.end() || !at->is_string()) {
    refuse(responder, 400, "the body needs a text " + quote(name));
    return false;
  }
  into = at->get<std::string>();
  if (into.size() > kMostMatrix) {
    refuse(responder, 413, quote(name) + " is longer than 8 MiB");
    return false;
  }
  return true;
}

class Routes {
 public:
  Routes(Desk& desk, const Gate& gate, EventFeed& feed) : desk_(desk), gate_(gate), feed_(feed) {}

  void add_to(http::Router& router) {
    add(router, "GET", "/v1/daemon", Role::kRead, &Routes::daemon);
    add(router, "POST", "/v1/daemon/stop", Role::kAdmin, &Routes::stop);
    add(router, "GET", "/v1/status", Role::kRead, &Routes::status);
    add(router, "POST", "/v1/sweeps", Role::kSubmit, &Routes::submit);
    add(router, "GET", "/v1/sweeps/{sweep}/results", Role::kRead, &Routes::results);
    add(router, "GET", "/v1/sweeps/{sweep}/cells", Role::kRead, &Routes::cells);
    add(router, "POST", "/v1/sweeps/{sweep}/{verb}", Role::kSubmit, &Routes::change_sweep);
    add(router, "POST", "/v1/models/{model}/{verb}", Role::kAdmin, &Routes::hold_model);
    add(router, "GET", "/v1/cells/{cell}", Role::kRead, &Routes::cell);
    add(router, "GET", "/v1/cells/{cell}/curve", Role::kRead, &Routes::curve);
    add(router, "GET", "/v1/jobs", Role::kRead, &Routes::jobs);
    add(router, "GET", "/v1/jobs/{job}", Role::kRead, &Routes::job);
    add(router, "GET", "/v1/events", Role::kRead, &Routes::events);
    add(router, "GET", "/v1/logs/{id}", Role::kRead, &Routes::log);
    add(router, "GET", "/v1/policy", Role::kRead, &Routes::policy);
    add(router, "PUT", "/v1/policy", Role::kAdmin, &Routes::set_policy);
    add(router, "POST", "/v1/backup", Role::kAdmin, &Routes::backup);
    // People cancel a job by its number; workers speak for theirs by its name.
    router.add("POST", "/v1/jobs/{job}/{verb}", [*this](Request request, Responder responder) {
      const std::string& verb = request.part("verb");
      if (verb == "cancel") return cancel_job(request, responder);
      if (!is_worker_call(verb))
        return refuse(responder, 404,
                      "a job can be cancelled, and its worker says " + worker_calls() + "; nobody says " + quote(verb));
      worker(std::move(request), responder);
    });
  }

 private:
  using Method = void (Routes::*)(const Request&, const Responder&) const;

  void add(http::Router& router, const char* method, const char* path, Role least, Method handle) {
    router.add(method, path, [*this, least, handle](Request request, Responder responder) {
      if (may(request, responder, least)) (this->*handle)(request, responder);
    });
  }

  bool may(const Request& request, const Responder& responder, Role least) const {
    const Role role = gate_.role_of(request.peer);
    if (role >= least) return true;
    if (request.peer.transport == http::Transport::kTls)
      refuse(responder, 401, "the bearer token is none that this daemon knows");
    else
      refuse(responder, 403,
             gate_.user_of(request.peer) + " has the role " + std::string(name_of(role)) + " here, and this takes " +
                 std::string(name_of(least)));
    return false;
  }

  // Workers.

  void worker(Request request, const Responder& responder) const {
    const std::string& job = request.part("job");
    if (!gate_.is_job(request.peer, job)) return refuse(responder, 401, "the token is not that of job " + shown(job));
    worker_call(desk_, request.part("verb"), job, request.body, [responder](WorkerReply reply) {
      Response response;
      response.status = reply.status;
      response.body = std::move(reply.body);
      responder.send(std::move(response));
    });
  }

  // The daemon.

  void daemon(const Request&, const Responder& responder) const {
    desk_.look([this_ = *this, responder](const State& state, Now) {
      ordered_json body = daemon_json(this_.view(state));
      body["held_models"] = state.held_models;
      body["nodes"] = ordered_json::array();
      for (const auto& [name, node] : state.nodes)
        body["nodes"].push_back({{"name", name},
                                 {"failures", node.failures},
                                 {"excluded_until", node.excluded_until ? time_json(*node.excluded_until) : nullptr}});
      answer(responder, 200, body);
    });
  }

  /// As the daemon was started, with the policy of now.
  DaemonView view(const State& state) const {
    DaemonView view = desk_.view();
    view.policy = state.policy.name;
    return view;
  }

  void stop(const Request&, const Responder& responder) const {
    answer(responder, 200, {{"state", "stopping"}});
    desk_.stop();
  }

  void status(const Request& request, const Responder& responder) const {
    const std::string* asked = request.asked("sweep");
    const std::string of = asked ? *asked : "";
    desk_.look([this_ = *this, of, responder](const State& state, Now now) {
      std::optional<control::SweepId> only;
      if (!of.empty()) {
        const auto found = find_sweep(state, of);
        if (!found) return refuse(responder, 404, found.error().what);
        only = *found;
      }
      answer(responder, 200, status_json(state, this_.view(state), only, now));
    });
  }

  void policy(const Request&, const Responder& responder) const {
    desk_.look([this_ = *this, responder](const State& state, Now) {
      const std::string name = state.policy.name;
      this_.desk_.later([this_, name, responder] {
        guarded(responder, [&] {
          answer(responder, 200, {{"name", name}, {"text", this_.desk_.store().policy_text().value_or("")}});
        });
      });
    });
  }

  void set_policy(const Request& request, const Responder& responder) const {
    const auto body = object_of(request, responder, {"file", "text"});
    Submission::Text text;
    if (!body || !text_in(*body, "text", text.text, responder) || !text_in(*body, "file", text.file, responder)) return;
    const std::string user = gate_.user_of(request.peer);
    desk_.later([this_ = *this, text, user, responder] {
      auto prepared = this_.desk_.prepare_policy(text);
      if (!prepared.policy) return refuse_file(responder, prepared.problems);
      this_.desk_.look([=, next = std::move(prepared)](const State& state, Now) {
        ordered_json said = {{"name", next.policy->name},
                             {"changes", report::changes_json(state.policy, *next.policy)},
                             {"lowered", next.lowered}};
        this_.desk_.put(control::event::SetPolicy{{}, *next.policy, text.text, user},
                        [said = std::move(said), responder](const Answer&) { answer(responder, 200, said); });
      });
    });
  }

  void backup(const Request& request, const Responder& responder) const {
    const auto body = object_of(request, responder, {"file"});
    std::string file;
    if (!body || !text_in(*body, "file", file, responder)) return;
    if (!file.starts_with('/')) return refuse(responder, 400, "'file' must be an absolute path of the daemon's host");
    desk_.later([this_ = *this, file, responder] {
      const auto done = this_.desk_.store().backup(file);
      if (!done) return refuse(responder, 409, done.error().what);
      std::error_code ignored;
      answer(responder, 200, {{"file", file}, {"bytes", std::filesystem::file_size(file, ignored)}});
    });
  }

  // Sweeps.

  void submit(const Request& request, const Responder& responder) const {
    const auto body = object_of(request, responder, {"matrix", "file", "name", "fresh", "catalogs"});
    Submission submission;
    if (!body || !text_in(*body, "matrix", submission.matrix.text, responder) ||
        !text_in(*body, "file", submission.matrix.file, responder) ||
        !text_in(*body, "name", submission.name, responder, false))
      return;
    if (body->contains("fresh") && !(*body)["fresh"].is_boolean())
      return refuse(responder, 400, "'fresh' must be true or false");
    submission.fresh = body->value("fresh", false);
    if (body->contains("catalogs")) {
      if (!(*body)["catalogs"].is_array()) return refuse(responder, 400, "'catalogs' must be a list");
      for (const json& each : (*body)["catalogs"]) {
        Submission::Text catalog;
        if (!each.is_object()) return refuse(responder, 400, "each of 'catalogs' must be an object");
        if (!has_only(each, responder, {"file", "text"}) || !text_in(each, "file", catalog.file, responder) ||
            !text_in(each, "text", catalog.text, responder))
          return;
        submission.catalogs.push_back(std::move(catalog));
      }
    }
    submission.user = gate_.user_of(request.peer);
    submission.request_key = request.idempotency_key;
    desk_.look([this_ = *this, submission = std::move(submission), responder](const State& state, Now) {
      this_.desk_.later([this_, submission, policy = state.policy, responder] {
        guarded(responder, [&] { this_.plan_and_submit(submission, policy, responder); });
      });
    });
  }

  void plan_and_submit(const Submission& submission, const policy::Policy& policy, const Responder& responder) const {
    Prepared prepared = desk_.prepare(submission, policy);
    if (!prepared.sweep) return refuse_file(responder, prepared.problems);
    const std::int64_t rejected = prepared.sweep->rejected_cells;
    const std::string name = prepared.sweep->name;
    desk_.put(*std::move(prepared.sweep),
              [name, rejected, notes = std::move(prepared.notes), responder](const Answer& said) {
                if (said.status != Answer::Status::kOk) return refuse(responder, 409, said.text);
                answer(responder, 201,
                       {{"sweep", id_of(said.sweep)},
                        {"name", name},
                        {"cells", said.cells},
                        {"reused", said.reused},
                        {"rejected", rejected},
                        {"notes", notes}});
              });
  }

  void change_sweep(const Request& request, const Responder& responder) const {
    const std::string of = request.part("sweep"), verb = request.part("verb");
    if (verb != "cancel" && verb != "retry" && verb != "hold" && verb != "release")
      return refuse(responder, 404, "a sweep can be cancelled, retried, held and released, not " + quote(verb));
    const std::string user = gate_.user_of(request.peer);
    desk_.look([this_ = *this, of, verb, user, responder](const State& state, Now) {
      const auto sweep = find_sweep(state, of);
      if (!sweep) return refuse(responder, 404, sweep.error().what);
      const auto answered = [sweep = *sweep, responder](const Answer& said) {
        if (said.status != Answer::Status::kOk) return refuse(responder, 409, said.text);
        answer(responder, 200, {{"sweep", id_of(sweep)}, {"cells", said.cells}});
      };
      if (verb == "cancel") return this_.desk_.put(control::event::CancelSweep{{}, *sweep, user}, answered);
      if (verb == "retry") return this_.desk_.put(control::event::RetrySweep{{}, *sweep, user}, answered);
      this_.desk_.put(control::event::HoldSweep{{}, *sweep, verb == "hold", user}, answered);
    });
  }

  void hold_model(const Request& request, const Responder& responder) const {
    const std::string model = request.part("model"), verb = request.part("verb");
    if (verb != "hold" && verb != "release")
      return refuse(responder, 404, "a model can be held and released, not " + quote(verb));
    desk_.put(control::event::HoldModel{{}, model, verb == "hold", gate_.user_of(request.peer)},
              [model, verb, responder](const Answer& said) {
                if (said.status != Answer::Status::kOk) return refuse(responder, 409, said.text);
                answer(responder, 200, {{"model", model}, {"held", verb == "hold"}, {"cells", said.cells}});
              });
  }

  /// Finds the sweep on the strand, then writes a report of it elsewhere.
  template <class Write>
  void report(const std::string& of, const Responder& responder, Write write) const {
    desk_.look([this_ = *this, of, responder, write](const State& state, Now) {
      const auto sweep = find_sweep(state, of);
      if (!sweep) return refuse(responder, 404, sweep.error().what);
      this_.desk_.later([this_, sweep = *sweep, responder, write] {
        guarded(responder, [&] {
          std::ostringstream out;
          write(this_.desk_, out, sweep);
          Response response;
          response.body = std::move(out).str();
          responder.send(std::move(response));
        });
      });
    });
  }

  void results(const Request& request, const Responder& responder) const {
    report(request.part("sweep"), responder, [](Desk& desk, std::ostream& out, control::SweepId sweep) {
      write_results(out, desk.store(), nullptr, sweep);
    });
  }

  void cells(const Request& request, const Responder& responder) const {
    std::optional<control::CellState> only;
    if (const std::string* named = request.asked("state")) {
      const auto found = cell_state_named(*named);
      if (!found) return refuse(responder, 400, found.error().what);
      only = *found;
    }
    const std::string of = request.part("sweep");
    desk_.look([of, only, responder](const State& state, Now) {
      const auto sweep = find_sweep(state, of);
      if (!sweep) return refuse(responder, 404, sweep.error().what);
      std::ostringstream out;
      write_cells(out, state, *sweep, only);
      Response response;
      response.body = std::move(out).str();
      responder.send(std::move(response));
    });
  }

  void cell(const Request& request, const Responder& responder) const {
    const std::string of = request.part("cell");
    desk_.look([this_ = *this, of, responder](const State& state, Now now) {
      guarded(responder, [&] {
        const auto found = find_cell(state, this_.desk_.store(), of);
        if (!found) return refuse(responder, 404, found.error().what);
        answer(responder, 200, cell_json(state, this_.desk_.store(), *found, now));
      });
    });
  }

  /// Of a cell that is done: of the attempt whose result it has; else of the newest that has begun one.
  void curve(const Request& request, const Responder& responder) const {
    const std::string of = request.part("cell");
    constexpr auto kMost = static_cast<std::int64_t>(report::kMostCurvePoints);
    const auto most_asked = asked_number(request, responder, "most", kMost);
    if (!most_asked) return;
    const auto most = static_cast<std::size_t>(std::clamp<std::int64_t>(*most_asked, 2, kMost));
    desk_.look([this_ = *this, of, most, responder](const State& state, Now) {
      guarded(responder, [&] {
        const auto found = find_cell(state, this_.desk_.store(), of);
        if (!found) return refuse(responder, 404, found.error().what);
        const control::Cell& cell = state.cells[index(*found)];
        ordered_json head = {{"key", to_hex(cell.key)},
                             {"cell", id_of(*found)},
                             {"model", state.names[cell.model]},
                             {"task", state.names[cell.task]},
                             {"state", std::string(control::name_of(cell.state))}};
        std::vector<std::filesystem::path> jobs;
        for (const auto& [id, job] : state.jobs)
          if (job.epoch != control::Epoch{}) jobs.push_back(this_.desk_.folder_of(job.name));
        const bool done = cell.state == control::CellState::kDone;
        this_.desk_.later([this_, id = *found, head = std::move(head), jobs = std::move(jobs), done, most, responder] {
          guarded(responder, [&] { this_.send_curve(id, head, jobs, done, most, responder); });
        });
      });
    });
  }

  void send_curve(control::CellId cell, ordered_json body, const std::vector<std::filesystem::path>& jobs, bool done,
                  std::size_t most, const Responder& responder) const {
    std::optional<std::filesystem::path> file;
    if (!done) {
      file = newest_curve(jobs, cell);
    } else if (const auto attempt = desk_.store().accepted(cell)) {
      file = curve_of(desk_.folder_of(attempt->job), cell, attempt->ticket);
    }
    CurveRead read = file ? read_curve_file(*file, most) : CurveRead();
    body["settings"] = settings_json(desk_.store().cell(cell).settings);
    body["file"] = file ? ordered_json(file->string()) : ordered_json();
    body["read"] = read.curve.read;
    body["thinned"] = read.curve.thinned;
    body["whole"] = read.whole;
    body["points"] = std::move(read.curve.points);
    answer(responder, 200, body);
  }

  // Jobs.

  void jobs(const Request&, const Responder& responder) const {
    desk_.look([this_ = *this, responder](const State& state, Now now) {
      answer(responder, 200, jobs_json(state, this_.desk_.view().since, now));
    });
  }

  void job(const Request& request, const Responder& responder) const {
    const std::string of = request.part("job");
    desk_.look([this_ = *this, of, responder](const State& state, Now now) {
      const auto found = find_job(state, of);
      if (!found) return refuse(responder, 404, found.error().what);
      const control::Job& it = state.jobs.at(*found);
      const auto folder = this_.desk_.folder_of(it.name);
      answer(
          responder, 200,
          job_details_json(state, it, {folder.string(), (folder / "job.sh").string(), this_.log_of(it).string()}, now));
    });
  }

  std::filesystem::path log_of(const control::Job& job) const {
    return desk_.folder_of(job.name) / (job.name + "-" + job.cluster_id + ".out");
  }

  void cancel_job(const Request& request, const Responder& responder) const {
    if (!may(request, responder, Role::kSubmit)) return;
    const std::string of = request.part("job"), user = gate_.user_of(request.peer);
    desk_.look([this_ = *this, of, user, responder](const State& state, Now) {
      const auto job = find_job(state, of);
      if (!job) return refuse(responder, 404, job.error().what);
      this_.desk_.put(control::event::CancelJob{{}, *job, user}, [job = *job, responder](const Answer& said) {
        if (said.status != Answer::Status::kOk) return refuse(responder, 409, said.text);
        answer(responder, 200, {{"job", id_of(job)}});
      });
    });
  }

  // What happened.

  void events(const Request& request, const Responder& responder) const {
    const auto after = asked_number(request, responder, "after", 0);
    if (!after) return;
    if (request.accept.find("text/event-stream") != std::string::npos) {
      const auto last = number(&request.last_event_id);
      return feed_.listen(responder.stream(), last.value_or(*after));
    }
    const auto most_asked = asked_number(request, responder, "most", 1000);
    if (!most_asked) return;
    const std::int64_t most = std::clamp<std::int64_t>(*most_asked, 1, kMostEvents);
    desk_.later([this_ = *this, after = *after, most, responder] {
      guarded(responder, [&] {
        ordered_json list = ordered_json::array();
        for (const store::EventRow& row : this_.desk_.store().events(after, static_cast<std::size_t>(most)))
          list.push_back(event_json(row));
        answer(responder, 200, list);
      });
    });
  }

  void log(const Request& request, const Responder& responder) const {
    const std::string of = request.part("id");
    const auto offset_asked = asked_number(request, responder, "offset", 0);
    if (!offset_asked) return;
    const auto most_asked = asked_number(request, responder, "most", kMostLog);
    if (!most_asked) return;
    const std::int64_t offset = *offset_asked, most = std::clamp<std::int64_t>(*most_asked, 1, kMostLog);
    desk_.look([this_ = *this, of, offset, most, responder](const State& state, Now) {
      guarded(responder, [&] {
        const auto found = find_job_or_cell(state, this_.desk_.store(), of);
        if (!found) return refuse(responder, 404, found.error().what);
        const auto place = this_.log_place(state, *found);
        if (!place) return refuse(responder, 404, this_.no_log_of(of, *found));
        this_.desk_.later([place = *place, offset, most, responder] { send_log(place, offset, most, responder); });
      });
    });
  }

  struct LogPlace {
    std::filesystem::path file;
    bool over = false;
    std::string gone;  ///< what to say if it is over, and there is no such file
  };

  static constexpr const char* kRemoved =
      ": they were removed, as the policy's retention says or by hand; results and reasons are kept (orchctl results, "
      "orchctl explain)";

  /// Nothing of the cell lies in a job's directory.
  std::string no_log_of(const std::string& of, const JobOrCell& found) const {
    const auto* cell = std::get_if<control::CellId>(&found);
    const auto jobs = cell ? desk_.store().jobs_of(*cell) : std::vector<std::string>();
    if (jobs.empty()) return "nothing of " + shown(of) + " has run yet, so there is no log";
    return shown(of) + " ran in job " + jobs.back() + ", and the files of that are not there any more" + kRemoved;
  }

  static std::string no_log_of(const control::Job& job) {
    if (job.epoch != control::Epoch{}) return "the files of job " + job.name + " are not there any more" + kRemoved;
    return "job " + job.name + " never ran, so there is no log: " +
           (job.end ? std::string(control::name_of(*job.end)) : "it has not begun") +
           (job.reason.empty() ? "" : ", " + job.reason);
  }

  /// Of a cell that runs or ran: the log of its newest attempt.
  std::optional<LogPlace> log_place(const State& state, const JobOrCell& of) const {
    if (const auto* id = std::get_if<control::JobId>(&of)) {
      const control::Job& job = state.jobs.at(*id);
      return LogPlace{log_of(job), job.state == control::JobState::kEnded, no_log_of(job)};
    }
    const auto cell = std::get<control::CellId>(of);
    const std::string prefix = std::to_string(index(cell)) + "-";
    std::optional<LogPlace> newest;
    std::uint64_t best = 0;
    for (const auto& [id, job] : state.jobs) {
      if (job.epoch == control::Epoch{}) continue;
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(desk_.folder_of(job.name) / "cells", ignored)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix)) continue;
        const std::string ticket = name.substr(prefix.size());
        const auto value = number(&ticket);
        if (!value || static_cast<std::uint64_t>(*value) < best) continue;
        best = static_cast<std::uint64_t>(*value);
        newest = LogPlace{entry.path() / "log", state.cells[index(cell)].state != control::CellState::kRunning,
                          no_log_of(job)};
      }
    }
    return newest;
  }

  static void send_log(const LogPlace& place, std::int64_t offset, std::int64_t most, const Responder& responder) {
    std::error_code absent;
    const auto size = static_cast<std::int64_t>(std::filesystem::file_size(place.file, absent));
    if (absent && place.over) return refuse(responder, 404, place.gone);
    if (absent)
      return answer(responder, 200,
                    {{"file", place.file.string()},
                     {"offset", 0},
                     {"next", 0},
                     {"size", 0},
                     {"text", ""},
                     {"more", false},
                     {"over", place.over}});
    const std::int64_t from = offset < 0 ? std::max<std::int64_t>(0, size + offset) : std::min(offset, size);
    std::string text(static_cast<std::size_t>(std::min(most, size - from)), '\0');
    std::ifstream file(place.file, std::ios::binary);
    file.seekg(from);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    // A character that is not whole yet comes with the next piece; bytes that are none are shown as such.
    if (const std::size_t whole = utf8_prefix(text); whole > 0 && text.size() - whole < 4) text.resize(whole);
    const std::int64_t end = from + static_cast<std::int64_t>(text.size());
    answer(responder, 200,
           {{"file", place.file.string()},
            {"offset", from},
            {"next", end},
            {"size", size},
            {"text", text},
            {"more", end < size},
            {"over", place.over && end >= size}});
  }

  Desk& desk_;
  const Gate& gate_;
  EventFeed& feed_;
};

}  // namespace

void EventFeed::listen(http::EventStream stream, std::int64_t after) {
  {
    const std::lock_guard lock(mutex_);
    listeners_.push_back({std::move(stream), after});
  }
  wake();
}

void EventFeed::wake() {
  {
    const std::lock_guard lock(mutex_);
    if (listeners_.empty()) return;
    again_ = true;
    if (busy_) return;
    busy_ = true;
  }
  desk_.later([this] { send(); });
}

void EventFeed::send() {
  constexpr std::size_t kAtOnce = 500;
  std::unique_lock lock(mutex_);
  while (again_) {
    again_ = false;
    std::vector<Listener> listeners = std::exchange(listeners_, {});
    lock.unlock();
    bool more = false;
    for (Listener& listener : listeners) {
      std::vector<store::EventRow> rows;
      try {
        rows = desk_.store().events(listener.after, kAtOnce);
      } catch (const store::Failure&) {
        listener.stream.close();  // whoever listens asks again, and is told why
        continue;
      }
      for (const store::EventRow& row : rows) {
        if (!listener.stream.send(std::to_string(row.number), row.note.kind,
                                  event_json(row).dump(-1, ' ', false, json::error_handler_t::replace)))
          break;
        listener.after = row.number;
      }
      more = more || rows.size() == kAtOnce;
    }
    std::erase_if(listeners, [](const Listener& listener) { return listener.stream.closed(); });
    lock.lock();
    again_ = again_ || more;
    listeners_.insert(listeners_.end(), std::make_move_iterator(listeners.begin()),
                      std::make_move_iterator(listeners.end()));
  }
  busy_ = false;
}

http::Router make_router(Desk& desk, const Gate& gate, EventFeed& feed) {
  http::Router router;
  Routes(desk, gate, feed).add_to(router);
  return router;
}

}  // namespace orch::api
